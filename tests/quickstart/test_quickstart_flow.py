"""The order of the quickstart's steps, with a stand-in for model and training."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from danlu.config import load_recipe, recipe_text
from danlu.config.recipe import ModelSection, Recipe
from danlu.diagnosis.live import live_alerts
from danlu.errors import RunError
from danlu.quickstart import asking, run, show
from danlu.quickstart.outcome import Outcome
from danlu.quickstart.questions import held_out
from danlu.runs import RunDirectory, Sample, Summary

QUESTIONS = held_out("identity") + held_out("general")
GENERAL_RIGHT = 16


class World:
    """A model that answers as told, and a training that only writes the run directory."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trained: list[str] = []
        self.observers: list[object] = []
        self.identity_after = 20
        self.general_after = GENERAL_RIGHT
        self.stops = False
        self.refuses_to_resume = False

    def ask(
        self, model: ModelSection, prompts: Sequence[str], *, progress: bool = True
    ) -> list[str]:
        tuned = not model.path.startswith("builtin:")
        self.asked.append("after" if tuned else "before")
        identity = self.identity_after if tuned else 0
        general = self.general_after if tuned else GENERAL_RIGHT
        right = [q.prompt for q in [*QUESTIONS[:identity], *QUESTIONS[20 : 20 + general]]]
        accepted = {question.prompt: question.accepted[0] for question in QUESTIONS}
        return [f"It is {accepted[p]}." if p in right else "No idea." for p in prompts]

    def train(self, recipe: Recipe, *, resume: bool = False, **options: Any) -> SimpleNamespace:
        self.trained.append("resumed" if resume else "new")
        self.observers.append(options["observer"])
        path = Path(recipe.runs_dir) / recipe.name
        if resume and self.refuses_to_resume:
            raise RunError("other data", where=str(path))
        opened = (
            RunDirectory.resume(path)
            if resume
            else RunDirectory.create(path, overwrite=options["overwrite"])
        )
        with opened as directory:
            directory.write_recipe(options["recipe_text"])
            summary = Summary(
                name=recipe.name,
                model=recipe.model.path,
                method="lora",
                steps=1,
                epochs=1,
                records=118,
                train_seconds=61.23,
            )
            if self.stops:
                return SimpleNamespace(path=path, summary=None)
            directory.finish(summary)
        return SimpleNamespace(path=path, summary=summary)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.setenv("DANLU_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    world = World()
    monkeypatch.setattr(asking, "ask", world.ask)
    monkeypatch.setattr(run, "ask", world.ask)
    monkeypatch.setattr("danlu.training.run.train", world.train)
    return world


def figures() -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path("runs/quickstart/summary.json").read_text("utf-8"))
    return summary


def test_the_figures_are_printed_and_kept(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.quickstart() == 0
    assert figures()["quickstart"] == {
        "identity_before": 0,
        "identity_after": 20,
        "identity_total": 20,
        "general_before": 16,
        "general_after": 16,
        "general_total": 20,
        "train_seconds": 61.2,
    }
    assert figures()["steps"] == 1  # what training wrote is still there
    printed = capsys.readouterr().out
    for text in ("runs/quickstart/report.html", "loss.png", "danlu chat runs/quickstart"):
        assert text in printed
    samples = RunDirectory.open("runs/quickstart").samples()
    assert [sample.prompt for sample in samples] == [question.prompt for question in QUESTIONS]


def test_a_second_time_trains_anew_with_the_kept_answers(world: World) -> None:
    assert (run.quickstart(), run.quickstart()) == (0, 0)
    assert world.asked == ["before", "after", "after"]
    assert world.trained == ["new", "new"]


def test_interrupted_it_says_so_and_goes_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.stops = True
    assert run.quickstart() == 130
    assert "same command goes on" in capsys.readouterr().err
    world.stops = False
    assert run.quickstart() == 0
    assert world.trained == ["new", "resumed"]
    assert world.asked == ["before", "after"]


def test_what_is_surely_wrong_is_said_while_it_trains(world: World) -> None:
    world.stops = True
    run.quickstart()
    world.stops = False
    run.quickstart()
    assert world.trained == ["new", "resumed"]
    assert world.observers == [live_alerts, live_alerts]


def test_a_finished_training_that_was_not_measured_is_only_measured(world: World) -> None:
    recipe = load_recipe("quickstart").model_copy(update={"runs_dir": "runs"})
    world.train(recipe, overwrite=False, recipe_text=recipe_text(recipe), observer=None)
    assert run.quickstart() == 0
    assert world.trained == ["new"]
    assert figures()["quickstart"]["train_seconds"] == 61.2


def test_an_unfinished_run_of_another_recipe_begins_anew(world: World) -> None:
    world.stops = True
    run.quickstart(settings=["training.epochs=1"])
    world.stops = False
    assert run.quickstart() == 0
    assert world.trained == ["new", "new"]


def test_a_run_that_cannot_be_resumed_begins_anew(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.stops = True
    run.quickstart()
    world.stops, world.refuses_to_resume = False, True
    assert run.quickstart() == 0
    assert world.trained == ["new", "resumed", "new"]
    assert "other data" in capsys.readouterr().err


def test_missed_goals_are_named_and_fail(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.identity_after, world.general_after = 17, 14
    assert run.quickstart() == 1
    printed = capsys.readouterr().out
    assert "17 of 20 identity questions" in printed
    assert "2 general answers were lost" in printed


def test_quiet_prints_results_only(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.quickstart(progress=False) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "danlu chat" in captured.out


@pytest.mark.parametrize(
    ("identity", "general", "missed"), [(18, 15, 0), (17, 15, 1), (18, 14, 1), (20, 20, 0)]
)
def test_the_goals(identity: int, general: int, missed: int) -> None:
    assert len(Outcome(0, identity, 20, 16, general, 20, 1.0).shortfalls()) == missed


def test_answers_are_kept_per_model_and_prompts(world: World) -> None:
    model = ModelSection()
    assert asking.ask_once(model, ["a"]) == asking.ask_once(model, ["a"])
    asking.ask_once(model, ["b"])
    asking.ask_once(ModelSection(template="chatml"), ["a"])
    assert len(world.asked) == 3


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"answers": ["one"]}', '{"answers": 3}'])
def test_a_broken_file_of_answers_is_made_anew(world: World, broken: str) -> None:
    place = asking.answers_path(ModelSection(), ["a", "b"])
    place.parent.mkdir(parents=True)
    place.write_text(broken, "utf-8")
    assert asking.ask_once(ModelSection(), ["a", "b"]) == ["No idea.", "No idea."]
    assert asking.ask_once(ModelSection(), ["a", "b"]) == ["No idea.", "No idea."]
    assert world.asked == ["before"]


def test_samples_are_chosen_from_both_kinds() -> None:
    samples = [Sample(prompt=str(n), task_type="identity/name") for n in range(9)]
    samples += [Sample(prompt=str(n), task_type="general/knowledge") for n in range(9, 18)]
    chosen = [int(sample.prompt) for sample in show.chosen(samples)]
    assert chosen == [0, 2, 4, 6, 9, 13]
    assert show.chosen(samples[:2]) == samples[:2]


def test_danlu_is_named_by_its_path_where_it_is_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    assert show.danlu_command() == "danlu"
    (programs / "danlu").touch()
    assert show.danlu_command() == ".venv/bin/danlu"
