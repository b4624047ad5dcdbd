"""Where the cache is."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.config import danlu_home


def test_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DANLU_HOME", raising=False)
    assert danlu_home() == Path.home() / ".cache" / "danlu"
    monkeypatch.setenv("DANLU_HOME", "")
    assert danlu_home() == Path.home() / ".cache" / "danlu"


def test_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DANLU_HOME", "~/elsewhere")
    assert danlu_home() == Path.home() / "elsewhere"
    monkeypatch.setenv("DANLU_HOME", "here")
    assert danlu_home() == Path.cwd() / "here"
