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
    options = {"merge": True, "precision": "bfloat16", "trust_remote_code": False}
    assert calls["options"] == options
    assert capsys.readouterr().out == "model written to out in bfloat16\n"


def test_copied(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    calls["answer"] = Exported(Path("out"), "adapter", base="some/model")
    assert run(["export", "runs/x", "--output", "out"]) == 0
    assert calls["options"]["merge"] is False
    assert capsys.readouterr().out == "adapter written to out; it belongs to some/model\n"


def test_as_json(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/x", "-o", "out", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written == {"path": "out", "kind": "model", "base": None, "dtype": "bfloat16"}


def test_a_folder_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/x"]) == 2
    assert "--output" in capsys.readouterr().err


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(tmp_path / "no-run"), "-o", str(tmp_path / "out")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
