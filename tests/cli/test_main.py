"""Exit codes, messages instead of tracebacks, nearest names, UTF-8."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from danlu.cli import main
from danlu.errors import ModelError, TrainingError


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every command raise ``error``."""

    def app(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(main, "command_tree", lambda: app)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ModelError("no such model.", where="x"), 2, "Error: x: no such model.\n"),
        (TrainingError("loss is not finite."), 1, "Error: loss is not finite.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (typer.Abort(), 130, "Interrupted.\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "Permission denied: /x"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device: the disk"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DANLU_DEBUG", raising=False)
    failing(monkeypatch, error)
    assert main.run(["x"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DANLU_DEBUG", "1")
    failing(monkeypatch, ModelError("no such model."))
    assert main.run(["x"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_pydantics_complaints_are_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pydantic import ValidationError

    from danlu.config import Recipe

    with pytest.raises(ValidationError) as caught:
        Recipe(name="")
    failing(monkeypatch, caught.value)
    assert main.run(["x"]) == 2
    assert "name" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("ours"), FileNotFoundError("ours"), RuntimeError()])
def test_faults_of_danlu_keep_their_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(type(error)):
        main.run(["x"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["traim"], "No such command 'traim'. Did you mean 'train'?"),
        (["recipe", "shwo"], "Did you mean 'show'?"),
        (["recipe"], "Missing command."),
        (["train"], "Missing argument 'RECIPE'."),
        (["train", "sft-lora", "--resme"], "No such option: --resme. Did you mean '--resume'?"),
        (["train", "sft-lora", "--training.epochs=1"], "without dashes: training.epochs=VALUE."),
        (["train", "sft-lor"], "unknown recipe 'sft-lor'. Did you mean 'sft-lora'?"),
        (["recipe", "show", "sft-lora", "training.epoch=1"], "Did you mean 'epochs'?"),
        (["report", "runs/nowhere"], "there is no such run"),
        (["chat", "x", "--json"], "--json goes with --prompt"),
        (["explain", "nowhere.jsonl"], "no such file"),
        (["explain", "x", "--limit", "0"], "--limit"),
        (["train", "sft-lora", "--resume", "--overwrite"], "--resume and --overwrite"),
    ],
)
def test_mistakes_in_the_command_line(
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert list(tmp_path.iterdir()) == []


def test_without_arguments_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 0
    out = capsys.readouterr().out
    assert "Commands:" in out
    assert "..." not in out.partition("Commands:")[2]  # no sentence is cut short at 80 columns


def test_chinese_survives_a_pipe_under_a_locale_without_it(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: 丹炉\nruns_dir: 运行\n", encoding="utf-8")
    environment = os.environ | {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment.pop("PYTHONIOENCODING", None)
    for arguments in (["recipe", "show", str(path)], ["recipe", "show", str(path), "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "danlu", *arguments],
            env=environment,
            capture_output=True,
            check=True,
            cwd=Path(main.__file__).parents[2],
        )
        assert "丹炉" in done.stdout.decode("utf-8")


@pytest.mark.parametrize("arguments", [["version", "--json"], ["recipe", "list", "--json"]])
def test_json_is_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == 0
    assert json.loads(capsys.readouterr().out)


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[..., int] = lambda _: 7  # noqa: E731
    monkeypatch.setattr(main, "run", run)
    with pytest.raises(SystemExit, match="7"):
        main.main()
