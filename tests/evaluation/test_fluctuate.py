"""Both versions asked again: what is drawn, kept, resumed and shown."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.errors import EvaluationError
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.fluctuate import AskedAgain, fluctuate
from danlu.evaluation.fluctuation import FluctuateSettings
from danlu.evaluation.schema import TypeStakes
from tests.evaluation.scripted import Scripted, scripted
from tests.evaluation.versions import right_or_wrong, write_evaluation
from tests.workshop.produce.endpoint_server import Does, said, serving

SETTINGS = FluctuateSettings(samples=12, prompts=6, k=4)
TYPE = "数学/算术"


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[EvalDirectory, EvalDirectory]:
    """60 prompts; B loses those numbered 20 to 39."""
    monkeypatch.chdir(tmp_path)
    before, after = right_or_wrong(60), right_or_wrong(60)
    after[20:40] = [("wrong", 0.0)] * 20
    types = {TYPE: before, "talk/judged": [("x", 1.0)] * 5}
    stakes = {"talk/judged": TypeStakes(scorer="judge/helpful")}
    a = write_evaluation(Path("evals/a"), "v1", types, stakes=stakes)
    later = {**types, TYPE: after}
    b = write_evaluation(Path("evals/b"), "v2", later, stakes=stakes)
    return EvalDirectory.open(a), EvalDirectory.open(b)


def model(rate: float) -> Scripted:
    """Answers right with a chance, the same for the same prompt and seed."""

    def says(asked: str, seed: int) -> str:
        return "right" if random.Random(f"{asked}{seed}").random() < rate else "<b>错</b>"

    return scripted(says)[1]


def ask(
    pair: tuple[EvalDirectory, EvalDirectory],
    b_rate: float,
    watch: Callable[[str, Scripted], None] = lambda *_: None,
    **given: Any,
) -> AskedAgain:
    rates = {"v1": 0.9, "v2": b_rate}

    def model_of(directory: EvalDirectory) -> Any:
        name = directory.evaluation().model.name
        local, generator = scripted(model(rates[name]).says, fingerprint=name)
        watch(name, generator)
        return local

    given.setdefault("settings", SETTINGS)
    return fluctuate(
        *pair, model_of, folder=Path("evals"), progress=lambda _: lambda *_: None, **given
    )


def test_a_real_loss_and_noise_are_told_apart(pair: Any) -> None:
    real = ask(pair, 0.3).found
    assert real.regressions.finding.value == "real"
    assert real.regressions.prompts == 6
    noise = ask(pair, 0.9, settings=FluctuateSettings(samples=30, prompts=20)).found
    assert noise.regressions.finding.value == "noise"
    assert noise.controls is not None
    assert noise.controls.prompts == 20


def test_fresh_samples_only_and_the_prompts_that_lost(pair: Any) -> None:
    asked: dict[str, Scripted] = {}
    again = ask(pair, 0.3, lambda name, generator: asked.update({name: generator}))
    assert {name: len(one.answered) for name, one in asked.items()} == {"v1": 144, "v2": 144}
    lost = {f"{TYPE}-{k}" for k in range(20, 40)}
    chosen = {one.prompt for one in again.found.prompts if not one.control}
    controls = {one.prompt for one in again.found.prompts if one.control}
    assert chosen <= lost
    assert not chosen & controls
    for path in again.paths:
        evaluation = EvalDirectory.open(path).evaluation()
        assert evaluation.seeds == tuple(range(1, 13))  # 0 has selected
        assert evaluation.sampling["greedy"] is False
    assert again.notes == ("Not asked again, since no scorer of answers is theirs: talk/judged.",)


def test_a_stopped_call_goes_on(pair: Any) -> None:
    """The first call dies while B is asked; the second asks what is missing, and says the same."""

    def stop(name: str, generator: Scripted) -> None:
        if name == "v2":
            said = generator.says

            def says(asked: str, seed: int) -> str:
                if len(generator.answered) > 100:
                    raise KeyboardInterrupt
                return said(asked, seed)

            generator.says = says

    with pytest.raises(KeyboardInterrupt):
        ask(pair, 0.3, stop)
    asked: dict[str, Scripted] = {}
    again = ask(pair, 0.3, lambda name, generator: asked.update({name: generator}))
    assert {name: len(one.answered) for name, one in asked.items()} == {"v1": 0, "v2": 44}
    shutil.rmtree(Path(again.paths[0]).parent)
    assert ask(pair, 0.3).found == again.found


def test_what_cannot_be_asked_again(pair: Any) -> None:
    with pytest.raises(EvaluationError, match="nothing to ask"):
        ask(pair, 0.3, task_types=["talk/judged"])
    same = (pair[0], pair[0])
    with pytest.raises(EvaluationError, match="lost score"):
        ask(same, 0.3)


def test_the_command(
    pair: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {"v1": 0.9, "v2": 0.3}

    class LocalModel:
        @staticmethod
        def load(name: str, device: str) -> Any:
            return scripted(model(rates[name]).says, fingerprint=name)[0]

    fake = ModuleType("danlu.evaluation.asking.local")
    fake.LocalModel = LocalModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "danlu.evaluation.asking.local", fake)
    given = ["fluctuate", "v1", "v2", "--samples", "12", "--prompts", "6", "--k", "4"]
    assert run([*given, "--html", "f.html"]) == 0
    out = capsys.readouterr().out
    assert "The regressions are real: pass@1 0." in out
    assert "controls" in out
    page = Path("f.html").read_text("utf-8")
    assert "&lt;b&gt;错&lt;/b&gt;" in page
    assert "<b>错" not in page
    assert "12 answers per prompt" in page
    assert "1 answer per prompt" not in page  # of those that selected
    assert run([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["regressions"]["finding"] == "real"
    assert len(told["prompts"]) == 12
    monkeypatch.setattr(
        LocalModel, "load", staticmethod(lambda name, device: scripted({}, fingerprint="new")[0])
    )
    assert run(given) == 2
    assert "its weights differ" in capsys.readouterr().err


def test_models_at_an_endpoint_are_asked_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two models of one server, as they were evaluated: the later one lost half of its prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", "secret-key-123")
    rates = {"v1": 0.9, "v2": 0.2}

    def answers(body: dict[str, Any], time_: int) -> Does:
        return Does(model(rates[body["model"]]).says(said(body), body["seed"]))

    before, after = right_or_wrong(20), right_or_wrong(20)
    after[:10] = [("wrong", 0.0)] * 10
    with serving(answers) as server:
        write_evaluation(Path("evals/a"), "v1", {TYPE: before}, address=server.url)
        write_evaluation(Path("evals/b"), "v2", {TYPE: after}, address=server.url)
        given = ["fluctuate", "evals/a", "evals/b", "--samples", "6", "--prompts", "4", "--k", "2"]
        assert run([*given, "--key-variable", "MY_KEY", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["regressions"]["finding"] == "real"
        assert len(told["prompts"]) == 8
        assert "cannot be seen from here" in told["notes"][0]
        # Two models, eight prompts, six samples: each asked once, drawn with seeds of its own.
        assert len(server.bodies) == 96
        assert len({body["seed"] for body in server.bodies}) == 48
        assert {body["temperature"] for body in server.bodies} == {0.7}
        assert {one["Authorization"] for one in server.headers} == {"Bearer secret-key-123"}
        assert run(given) == 0  # and nothing is asked twice
        assert len(server.bodies) == 96
