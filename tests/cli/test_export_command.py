"""``danlu export`` hands its arguments on and says what was written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.serving.export import Exported


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``export`` was called with, and what it answers."""
    seen: dict[str, Any] = {"answer": Exported(Path("out"), "model", dtype="bfloat16")}

    def export(*arguments: Any, **options: Any) -> Exported:
        seen["arguments"], seen["options"] = arguments, options
        return seen["answer"]

    fake = ModuleType("danlu.serving.export")
    fake.export = export  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "danlu.serving.export", fake)
    return seen


def test_merged(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/x", "--merge", "-o", "out", "--precision", "bfloat16"]) == 0
    assert calls["arguments"] == ("runs/x", Path("out"))
    options = {name: value for name, value in calls["options"].items() if value}
    assert options == {"merge": True, "precision": "bfloat16"}
    assert capsys.readouterr().out == "model written to out in bfloat16\n"


def test_copied(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    calls["answer"] = Exported(Path("out"), "adapter", base="some/model")
    assert run(["export", "runs/x", "--output", "out"]) == 0
    assert calls["options"]["merge"] is False
    assert capsys.readouterr().out == "adapter written to out; it belongs to some/model\n"


def test_as_json(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/x", "-o", "out", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["path"], written["kind"], written["dtype"]) == ("out", "model", "bfloat16")
    assert (written["files"], written["proof"], written["quantised"]) == (1, None, None)


def test_a_folder_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/x"]) == 2
    assert "--output" in capsys.readouterr().err


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(tmp_path / "no-run"), "-o", str(tmp_path / "out")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gguf", "f16", "--shard-size", "2GB"], "--shard-size: is not for --gguf"),
        (["--gguf", "f16", "--precision", "float32"], "--precision: is not for --gguf"),
        (["--quantise", "nf4", "--shard-size", "2GB"], "not for --quantise"),
        (["--push", "somewhere"], "write OWNER/NAME"),
        (["--push", "me/it"], "set the variable HF_TOKEN"),
        (["--suite", "genral"], "Did you mean 'general'"),
    ],
)
def test_what_does_not_go_together_is_told_before_the_work(
    calls: dict[str, Any],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert run(["export", "runs/x", "-o", "out", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert "arguments" not in calls
