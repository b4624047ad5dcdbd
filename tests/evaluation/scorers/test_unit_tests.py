"""Code under test: what passes, what fails, and what it cannot reach. Each guard has its fault."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from pathlib import Path

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import sandbox
from danlu.evaluation.scorers.sandbox import run_sandboxed
from danlu.evaluation.scorers.unit_tests import UnitTests

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="guarded on Linux x86-64 only"
)


@pytest.fixture(autouse=True, scope="module")
def guarded() -> None:
    """Skip where the kernel has no Landlock or no seccomp: there nothing is run at all."""
    try:
        run_sandboxed([("code.py", "")])
    except EvaluationError as error:
        pytest.skip(str(error))


TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"


def test_right_and_wrong_code() -> None:
    scorer = UnitTests()
    assert scorer.score("Sure:\n```python\ndef add(a, b):\n    return a + b\n```", TESTS).value == 1
    wrong = scorer.score("def add(a, b):\n    return a - b", TESTS)
    assert wrong.value == 0
    assert "AssertionError" in wrong.why
    broken = scorer.score("def add(a, b) return", TESTS)
    assert (broken.value, "SyntaxError" in broken.why) == (0, True)
    assert scorer.score("", TESTS).value is None


def test_a_completion_of_a_prompt() -> None:
    reference = {"before": "def add(a, b):\n", "tests": TESTS}
    assert UnitTests().score("    return a + b\n", reference).value == 1


@pytest.mark.parametrize("leave", ["import sys; sys.exit(0)", "import os; os._exit(0)", "exit()"])
def test_leaving_early_is_no_pass(leave: str) -> None:
    assert UnitTests().score(leave, TESTS).value == 0


def outcome_of(code: str, **limits: float) -> str:
    found = run_sandboxed([("code.py", code)], **limits)  # type: ignore[arg-type]
    return "finished" if found.finished else found.output


def test_libraries_threads_and_own_files_work() -> None:
    code = """
import json, threading, tempfile, os, random, datetime, hashlib
import numpy as np
done = []
t = threading.Thread(target=done.append, args=(1,)); t.start(); t.join()
assert done == [1] and np.arange(3).sum() == 3
open("own.txt", "w").write("x")
assert open("own.txt").read() == "x" and os.listdir(".") == ["own.txt"]
with tempfile.NamedTemporaryFile("w") as file: file.write("y")
os.remove("own.txt")
"""
    assert outcome_of(code, memory_bytes=1 << 30) == "finished"


def test_the_network_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        calling = f"import socket; socket.socket().connect({server.getsockname()})"
        assert "PermissionError" in outcome_of(calling)
    assert "PermissionError" in outcome_of("import socket; socket.socket(socket.AF_UNIX)")


def test_files_of_the_user_are_out_of_reach(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    for code in (
        f"print(open({str(secret)!r}).read())",
        f"import os; print(os.listdir({str(tmp_path)!r}))",
        f"import os; print(os.listdir({str(Path.home())!r}))",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"import os; os.remove({str(secret)!r})",
        f"import os; os.truncate({str(secret)!r}, 0)",
        f"import os; os.chmod({str(secret)!r}, 0o777)",
        f"import os; os.utime({str(secret)!r}, (0, 0))",
        f"import os; os.chown({str(tmp_path)!r}, 1, 1)",
        f"import os; os.setxattr({str(secret)!r}, 'user.x', b'y')",
        f"import os; os.symlink({str(secret)!r}, 'link'); open('link').read()",
        f"import os; os.link({str(secret)!r}, 'hard'); open('hard').read()",
        f"open('/proc/{os.getpid()}/environ', 'rb').read()",
        "open('/etc/passwd').read()",
    ):
        output = outcome_of(code)
        assert "PermissionError" in output or "Invalid cross-device link" in output, code
        assert "s3cret" not in output
    assert secret.read_text() == "s3cret"
    assert os.listdir(tmp_path) == ["secret.txt"]


def test_the_environment_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    assert "s3cret" not in outcome_of("import os; print(dict(os.environ)); 1/0")


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
        "import os; os.kill(PARENT, 0)",
        "import resource as r; r.setrlimit(r.RLIMIT_CPU, (99, 99))",
    ],
)
def test_other_processes_are_out_of_reach(code: str) -> None:
    output = outcome_of(code.replace("PARENT", str(os.getpid())))
    assert "PermissionError" in output or "not permitted" in output or "not allowed" in output


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)"])
def test_it_does_not_outlive_its_time(code: str) -> None:
    start = time.monotonic()
    found = run_sandboxed([("code.py", code)], time_s=1.0)
    assert found.timed_out
    assert not found.finished
    assert time.monotonic() - start < 8
    assert UnitTests(time_s=1.0).score(code, "1").why == "it ran past 1 s"


def test_it_does_not_outgrow_its_memory() -> None:
    assert "MemoryError" in outcome_of("x = bytearray(800 << 20)")
    assert outcome_of("x = bytearray(100 << 20)") == "finished"


def test_it_does_not_flood_the_disk_or_the_caller() -> None:
    size = sandbox.FILE_BYTES + 1
    code = f"with open('big', 'wb') as file: file.write(b'x' * {size})"
    assert "OSError" in outcome_of(code)
    found = run_sandboxed([("code.py", "while True: print('x' * 1000)")], time_s=5.0)
    assert not found.finished
    assert len(found.output) <= 2 * sandbox.TAIL_BYTES


def test_nothing_runs_where_a_guard_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    runner = tmp_path / "runner.py"
    text = sandbox.RUNNER.read_text()
    runner.write_text(text.replace("abi = _call(LANDLOCK_CREATE,", "abi = _call(99999,"))
    assert runner.read_text() != text
    monkeypatch.setattr(sandbox, "RUNNER", runner)
    with pytest.raises(EvaluationError, match=r"cannot be guarded here: .*Landlock"):
        run_sandboxed([("code.py", f"open({str(mark)!r}, 'w')")])
    assert not mark.exists()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(EvaluationError, match="cannot be guarded on darwin"):
        run_sandboxed([("code.py", "")])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: UnitTests(time_s=0), "above 0"),
        (lambda: UnitTests().score("x", ""), "no tests"),
        (lambda: UnitTests().score("x", {"test": "1"}), "no tests"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        call()
