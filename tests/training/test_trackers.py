"""Trackers: which names there are, what they are told, and TensorBoard's files read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from danlu.config import describe
from danlu.errors import RecipeError
from danlu.runs import MetricsRow, RunDirectory
from danlu.runs.schema import ChannelMetrics
from danlu.training.estimate import dry_run
from danlu.training.run import train
from danlu.training.trackers import check_trackers, flat


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Say which trackers are installed."""

    def these(*names: str) -> None:
        monkeypatch.setattr("danlu.training.trackers.get_available_trackers", lambda: list(names))

    return these


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tensorbord", "there is no tracker 'tensorbord'. Did you mean 'tensorboard'?"),
        ("WandB", "there is no tracker 'WandB'. Did you mean 'wandb'?"),
        (
            "paper",
            "there is no tracker 'paper'. Allowed: aim, all, clearml, comet_ml, dvclive, mlflow, "
            "swanlab, tensorboard, trackio, wandb.",
        ),
        (
            "tensorboard",
            "the tracker 'tensorboard' is not installed. Install it with pip install "
            "'danlu[trackers]', or take it out of the recipe.",
        ),
        (
            "swanlab",
            "the tracker 'swanlab' is not installed. Install it with pip install swanlab, or take "
            "it out of the recipe.",
        ),
        (
            "all",
            "no tracker is installed. Install it with pip install 'danlu[trackers]', or take it "
            "out of the recipe.",
        ),
    ],
)
def test_a_tracker_that_is_not_there(installed, name: str, reason: str) -> None:
    installed()
    with pytest.raises(RecipeError) as caught:
        check_trackers([name])
    assert str(caught.value) == f"logging.trackers: {reason}"


def test_trackers_that_are_there(installed) -> None:
    installed("wandb", "tensorboard")
    for names in ([], ["wandb"], ["tensorboard", "wandb"], ["all"]):
        check_trackers(names)
    with pytest.raises(RecipeError, match="'mlflow' is not installed"):
        check_trackers(["wandb", "mlflow"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("tensorbord", "Did you mean 'tensorboard'"), ("mlflow", "pip install mlflow")],
)
def test_refused_before_anything_is_loaded_or_written(
    tiny_recipe, installed, monkeypatch, name: str, reason: str
) -> None:
    """The model's folder and the data do not exist, and nobody finds out."""
    installed()
    recipe = tiny_recipe(
        model={"path": "no/such/model"},
        data={"train": ["no/such/data.jsonl"]},
        logging={"trackers": [name]},
    )
    for work in (lambda: train(recipe, progress=False), lambda: dry_run(recipe)):
        with pytest.raises(RecipeError, match=rf"^logging\.trackers: .*{reason}"):
            work()
    assert not Path(recipe.runs_dir).exists()


def test_a_row_by_hand() -> None:
    row = MetricsRow(
        step=7,
        epoch=0.5,
        loss=2.5,
        learning_rate=1e-3,
        grad_norm=0.25,
        tokens_per_second=100.0,
        unique_tokens=40,
        supervised_tokens=30,
        channels={
            "推理/常识": ChannelMetrics(loss=3.0, tokens=10, records=1),
            "a/b": ChannelMetrics(loss=2.25, tokens=20, records=3, metrics={"accuracy": 0.75}),
        },
        metrics={"accuracy": 0.5},
        elapsed_s=1.5,
    )
    told = flat(row)
    assert told == {
        "train/epoch": 0.5,
        "train/loss": 2.5,
        "train/learning_rate": 1e-3,
        "train/grad_norm": 0.25,
        "train/tokens_per_second": 100.0,
        "train/unique_tokens": 40.0,
        "train/supervised_tokens": 30.0,
        "train/elapsed_s": 1.5,
        "train/loss/推理/常识": 3.0,
        "train/loss/a/b": 2.25,
        "train/accuracy": 0.5,
        "train/accuracy/a/b": 0.75,
    }
    assert {type(value) for value in told.values()} == {float}


def test_what_an_evaluation_has_not_is_not_told() -> None:
    told = flat(MetricsRow(step=0, epoch=0, loss=2.5, split="eval"))
    assert told.keys().isdisjoint({"eval/learning_rate", "eval/grad_norm", "eval/step"})
    assert told["eval/loss"] == 2.5


class Notebook(GeneralTracker):
    """A tracker of one's own, as Accelerate lets anyone register one."""

    name = "notebook"
    requires_logging_directory = False
    opened: ClassVar[list[Notebook]] = []

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.run_name, self.options = run_name, options
        self.settings: dict[str, Any] = {}
        self.rows: list[tuple[int | None, dict[str, Any]]] = []
        self.finished = False
        Notebook.opened.append(self)

    @property
    def tracker(self) -> list[Any]:
        return self.rows

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> list[Notebook]:
    """Register the tracker ``notebook``; returns those that were opened."""
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "notebook", Notebook)
    monkeypatch.setattr(Notebook, "opened", [])
    return Notebook.opened


def test_every_row_and_setting_is_told(tiny_recipe, notebooks) -> None:
    recipe = tiny_recipe(
        logging={"trackers": ["notebook"], "every_steps": 3},
        data={"eval_share": 0.2},
        model={"new_tokens": ["<炉>"]},
    )
    run = train(recipe, progress=False)
    [notebook] = notebooks
    rows = list(RunDirectory.open(run.path).metrics())
    assert {row.split for row in rows} == {"train", "eval"}
    assert notebook.rows == [(row.step, flat(row)) for row in rows]
    assert (notebook.run_name, notebook.options, notebook.finished) == ("run", {}, True)


def test_settings_are_told_by_path(tiny_recipe, notebooks) -> None:
    """Each that is set, as a plain value; sources stand in one text and not each by itself."""
    recipe = tiny_recipe(
        logging={"trackers": ["notebook"]}, training={"max_steps": 1}, tuning={"parts": ["norms"]}
    )
    train(recipe, progress=False)
    settings = notebooks[0].settings
    assert settings["training.max_steps"] == 1
    assert settings["training.learning_rate"] == 1e-2
    assert settings["training.gradient_checkpointing"] is False
    assert settings["tuning.parts"] == "['norms']"
    assert settings["logging.trackers"] == "['notebook']"
    assert settings["data.train"] == str([{"path": recipe.data.train[0].path}])
    expected = {s.path for s in describe(recipe) if s.value is not None and "[" not in s.path}
    assert settings.keys() == expected
    assert not any("[" in path for path in settings)
    assert "evaluation.patience" not in settings
    assert {type(value) for value in settings.values()} <= {str, int, float, bool}


def test_a_resumed_run_goes_on_in_its_trackers(tiny_recipe, notebooks, monkeypatch) -> None:
    recipe = tiny_recipe(logging={"trackers": ["notebook"]}, checkpoints={"every_steps": 3})
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, progress=False)
    train(recipe, resume=True, progress=False)
    steps = [[step for step, _ in notebook.rows] for notebook in notebooks]
    assert steps == [[1, 2, 3, 4, 5], [4, 5, 6, 7, 8]]


def stop_at(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Break the loop off as Ctrl-C would, after so many steps."""
    from danlu.training import loop

    own = loop.learning_rate

    def stopping(settings: Any, step: int, total: int) -> float:
        if step == steps:
            raise KeyboardInterrupt
        return own(settings, step, total)

    monkeypatch.setattr(loop, "learning_rate", stopping)


@pytest.fixture
def scalars():
    """Read TensorBoard's files: ``{tag: [(step, value), ...]}``."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: danlu[trackers]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        return {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }

    return read


def as_told(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same out of the run directory."""
    told: dict[str, list[tuple[int, float]]] = {}
    for row in RunDirectory.open(run).metrics():
        for tag, value in flat(row).items():
            told.setdefault(tag, []).append((row.step, pytest.approx(value, rel=1e-6)))
    return told


def test_tensorboards_files_hold_the_run(tiny_recipe, scalars) -> None:
    recipe = tiny_recipe(logging={"trackers": ["tensorboard"]}, data={"eval_share": 0.2})
    run = train(recipe, progress=False)
    folder = run.path / "trackers" / "run"
    assert scalars(folder) == as_told(run.path)
    assert [step for step, _ in scalars(folder)["eval/loss"]] == [0, 3, 6]
    [settings] = [yaml.safe_load(file.read_text()) for file in folder.glob("*/hparams.yml")]
    assert settings["training.batch_records"] == 4


@pytest.mark.parametrize("checkpoint_every", [3, 100])
def test_tensorboard_forgets_what_a_resumed_run_goes_through_again(
    tiny_recipe, scalars, monkeypatch, checkpoint_every
) -> None:
    """Broken off after step 5; the last checkpoint is that of step 3, or there is none."""
    recipe = tiny_recipe(
        logging={"trackers": ["tensorboard"]},
        data={"eval_share": 0.2},
        checkpoints={"every_steps": checkpoint_every},
        evaluation={"every_steps": 1},
    )
    folder = Path(recipe.runs_dir) / "run" / "trackers" / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, progress=False)
    assert [step for step, _ in scalars(folder)["train/loss"]] == [1, 2, 3, 4, 5]
    run = train(recipe, resume=True, progress=False)
    assert scalars(folder) == as_told(run.path)
    assert [step for step, _ in scalars(folder)["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in scalars(folder)["eval/loss"]] == [0, 1, 2, 3, 4, 5, 6]
