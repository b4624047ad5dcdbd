"""Voting in a terminal: keys, what is shown, wide characters, and a real pty."""

import io
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.store.votes import votes
from danlu.evaluation.voting.ballots import pair_ballots, paired, single_ballots
from danlu.evaluation.voting.keys import single_keys
from danlu.evaluation.voting.sitting import Sitting
from danlu.evaluation.voting.terminal import ballot_view, hold
from tests.evaluation.judging.judges import item, make

ITEMS = [item(f"q{k}", f"写一句话，第{k}句。", "writing/line", reference="山") for k in range(4)]
LONG = "春眠不觉晓，处处闻啼鸟。" * 6
A = [f"{LONG}{k}" for k in range(4)]
B = [f"Spring sleep [bold]{k}[/bold]\x1b[31m, unaware of dawn. " * 4 for k in range(4)]


@pytest.fixture(scope="module")
def evals(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("evals")
    return [make(folder, name, ITEMS, texts) for name, texts in (("a", A), ("b", B))]


@pytest.fixture
def store(tmp_path: Path):
    with EvalStore(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def ballots(evals):
    return pair_ballots(paired(*evals), ("a", "b"))


def held(store: EvalStore, ballots, *keys: str, voter: str = "ann", **options) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=80)
    source = iter([*keys, ""])
    done = hold(Sitting(store, voter, ballots), console, lambda: next(source), **options)
    return done, console.file.getvalue()


def test_one_key_per_verdict(store, ballots) -> None:
    done, shown = held(store, ballots, "1", "T", "x", "b", "u", "right", "2")
    assert done == 4
    assert [one.verdict for one in votes(store)] == ["left", "tie", "right", "right"]
    assert "no such key. 1 ← left" in shown
    assert "taken back" in shown
    assert "1 of 4 · writing/line" in shown
    assert held(store, ballots)[1] == ""  # all is decided
    done, shown = held(store, ballots, "s", "q", "1", voter="bo")
    assert done == 1
    done, shown = held(store, ballots, "1", "u", "u", "q", voter="bo")
    assert done == 0
    assert "there is nothing to take back" in shown


def test_usable_or_not(store, evals) -> None:
    done, shown = held(store, single_ballots(evals[0]), "y", "n", "1", "q")
    assert done == 2
    assert [one.verdict for one in votes(store)] == ["usable", "unusable"]
    assert "no such key. y usable" in shown


@pytest.mark.parametrize("width", [70, 81, 100])
def test_chinese_stands_beside_english_in_straight_columns(ballots, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(ballot_view(ballots[0], width))
    lines = console.file.getvalue().splitlines()
    divided = [line for line in lines if "│" in line]
    assert len(divided) > 3
    [middle] = {cell_len(line.partition("│")[0]) for line in divided}
    assert abs(middle - width / 2) <= 1
    assert max(map(cell_len, lines)) <= width
    left, right = ("".join(line.split("│")[side].strip() for line in divided) for side in (0, 1))
    for side in (ballots[0].left, ballots[0].right):
        bare = side.text.replace("\x1b", "␛").replace(" ", "")
        assert bare in left.replace(" ", "") + right.replace(" ", "")


def test_nothing_is_obeyed_and_nobody_is_named(ballots) -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system="standard")
    console.print(ballot_view(ballots[0], 60))
    shown = console.file.getvalue()
    assert "[bold]" in shown
    assert "␛[31m" in shown
    assert "\x1b[31m" not in shown
    assert "山" in shown
    console = Console(file=io.StringIO(), width=60)
    console.print(ballot_view(ballots[0], 60, reference=False))
    assert "山" not in console.file.getvalue()


PROGRAM = """
import sys
from rich.console import Console
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.voting.ballots import pair_ballots, paired
from danlu.evaluation.voting.keys import single_keys
from danlu.evaluation.voting.sitting import Sitting
from danlu.evaluation.voting.terminal import hold
a, b, path = sys.argv[1:]
ballots = pair_ballots(paired(EvalDirectory.open(a), EvalDirectory.open(b)), (a, b))
with EvalStore(path) as store, single_keys() as read:
    print("verdicts", hold(Sitting(store, "ann", ballots), Console(), read))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pty")
def test_a_real_terminal_takes_keys_typed_ahead_arrows_and_ctrl_c(evals, store, tmp_path) -> None:
    """1, right arrow, u, t, then Ctrl-C: two verdicts, and the terminal is put back."""
    place = str(tmp_path / "store.sqlite")
    arguments = [sys.executable, "-c", PROGRAM, *(str(one.path) for one in evals), place]
    child, terminal = pty.fork()
    if child == 0:
        os.environ["COLUMNS"] = "80"
        os.execv(sys.executable, arguments)
    shown = b""
    deadline = time.monotonic() + 60
    sent = False
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            shown += piece
        if not sent and b"q quit" in shown:
            os.write(terminal, b"1\x1b[Cut\x03")
            sent = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "verdicts 2" in shown.decode("utf-8", "replace")
    assert [one.verdict for one in votes(store)] == ["left", "tie"]


def test_lines_are_keys_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1\nleft\n\ntie\n"))
    with single_keys() as read:
        assert [read() for _ in range(5)] == ["1", "left", " ", "t", ""]
