"""A small model that learns on the spot: trained once, asked, and refused what it cannot do."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.config.recipe import Recipe
from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.runs import RunDirectory
from danlu.serving.student import SmallModel
from danlu.training import run as training
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.store.store import Store
from tests.tiny_models import tiny_llama

WORDS = ["iron", "gold", "water", "wood", "fire", "earth", "stone", "name", "hot", "red"]


def talks(count: int) -> list[Record]:
    return [
        Record(
            f"r{n}",
            "say/hot",
            (Message("user", f"Say {WORDS[n % 10]} {n}"), Message("assistant", "hot")),
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    tiny_llama(seed=3).save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def tree(folder: Path, tmp_path: Path) -> dict[str, Any]:
    training = {"epochs": 1, "batch_records": 4, "learning_rate": 1e-2, "device": "cpu"}
    return {
        "name": "small",
        "runs_dir": str(tmp_path / "runs"),
        "model": {"path": str(folder)},
        "tuning": {"method": "full"},
        "training": training,
        "samples": {"from_data": 0},
    }


def learned(tree: dict[str, Any], cache: RequestCache, records: list[Record]) -> tuple[str, list]:
    """Return the run's name, and what is answered to two questions."""
    recipe = Recipe.model_validate(tree)
    with SmallModel(recipe, cache, max_new_tokens=4, progress=False) as student:
        labeller = student.learn(records)
        assert student.run is not None
        return student.run.path.name, labeller.answer(talks(12)[10:])


def test_it_learns_once_and_again_from_other_records(tree, tmp_path, monkeypatch) -> None:
    begun: list[str] = []

    def begins(recipe, **options):
        begun.append(recipe.name)
        raise DanluError("begun")

    with RequestCache(tmp_path / "requests") as cache:
        name, answers = learned(tree, cache, talks(10))
        assert len(answers) == 2
        assert cache.counts() == {"answered": 2}
        monkeypatch.setattr(training, "train", begins)
        # Trained and answered before: nothing is done again.
        assert learned(tree, cache, talks(10)) == (name, answers)
        assert begun == []
        longer = tree | {"training": tree["training"] | {"epochs": 3}}
        for other in ((tree, talks(9)), (longer, talks(10))):
            with pytest.raises(DanluError, match="begun"):
                learned(other[0], cache, other[1])
    assert name not in begun
    assert len(set(begun)) == 2
    records = Path(tree["runs_dir"]) / f"{name}.records.jsonl"
    assert len(records.read_text("utf-8").splitlines()) == 10


def test_a_training_that_was_stopped_goes_on(tree, tmp_path, monkeypatch) -> None:
    tree |= {"checkpoints": {"every_steps": 1}}
    whole = training.train

    def stopped(recipe, **options):
        before = RunDirectory.append_metrics

        def append(self, row):
            before(self, row)
            if row.step == 2:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(RunDirectory, "append_metrics", append)
            return whole(recipe, **options)

    with RequestCache(tmp_path / "requests") as cache:
        with monkeypatch.context() as patch:
            patch.setattr(training, "train", stopped)
            with pytest.raises(KeyboardInterrupt):
                learned(tree, cache, talks(10))
        [place] = [one for one in Path(tree["runs_dir"]).iterdir() if one.is_dir()]
        assert RunDirectory.open(place).state() == "interrupted"
        name, answers = learned(tree, cache, talks(10))
    assert name == place.name
    assert len(answers) == 2


def test_a_classifier(tree, tmp_path) -> None:
    def text(n: int) -> Record:
        label = ("甲", "乙")[n % 2]
        content = f"the {('fire', 'water')[n % 2]} {n}"
        return Record(f"t{n}", "a/b", (Message("text", content),), meta={"label": label})

    tree |= {"objective": {"name": "classify"}}
    tree["training"]["epochs"] = 4
    with (
        RequestCache(tmp_path / "requests") as cache,
        SmallModel(Recipe.model_validate(tree), cache, progress=False) as student,
    ):
        labeller = student.learn([text(n) for n in range(16)])
        answers = labeller.answer([text(n) for n in range(16, 20)])
    assert [one.text for one in answers] == ["甲", "乙", "甲", "乙"]


def test_what_makes_no_labeller_is_told(tree, tmp_path) -> None:
    texts = [Record("t", "a/b", (Message("text", "the fire"),), meta={"label": "hot"})]
    with RequestCache(tmp_path / "requests") as cache:
        with (
            pytest.raises(DanluError, match="--recipe classify"),
            SmallModel(Recipe.model_validate(tree), cache, progress=False) as student,
        ):
            student.learn(texts)
        with pytest.raises(DanluError, match="the objective reward makes no model that answers"):
            SmallModel(Recipe.model_validate(tree | {"objective": {"name": "reward"}}), cache)


def test_from_the_command_line(folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    rows = []
    for n in range(24):
        messages = [{"role": "user", "content": f"Say {WORDS[n % 10]} {n}"}]
        if n < 20:
            messages.append({"role": "assistant", "content": "hot"})
        rows.append({"id": f"r{n}", "task_type": "say/hot", "messages": messages})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "mine.jsonl").write_text(lines, "utf-8")
    words = ["data", "make", "bulk-label", "mine.jsonl", "--recipe", "sft-full", "-n", "done"]
    settings = [
        f"model.path={folder}",
        "training.epochs=12",
        "training.batch_records=4",
        "training.learning_rate=1e-2",
        "training.device=cpu",
        "samples.from_data=0",
        "data.eval_share=0",
    ]
    for one in settings:
        words += ["--set", one]
    words += ["--max-new-tokens", "4", "--held-out", "0.4"]
    assert run([*words, "--agreement", "0.95"]) == 2
    err = capsys.readouterr().err
    assert "say/hot (4 to answer): 8 of 8 agree, 1.00 (95 % interval 0.68 to 1.00)" in err
    assert "held out were too few to be sure, about" in err
    assert not Store().has("done")
    assert run([*words, "--agreement", "0.6"]) == 0
    err = capsys.readouterr().err
    assert "say/hot: 8 of 8 agree" in err
    assert "trained in runs/sft-full-" in err
    assert "4 edited: bulk-label" in err
    answers = [one.messages[-1].content for one in Store().find("done").records()]
    assert answers == ["hot"] * 24


STATES = ["open", "paid", "late", "lost", "closed"]


def orders(count: int, without: int) -> list[dict[str, Any]]:
    """Sentences in Chinese and English with the state of an order in each, the last unanswered."""
    draw = random.Random(1)
    rows = []
    for n in range(count + without):
        number, state = draw.randrange(1000, 9999), draw.choice(STATES)
        who, what = draw.choice(["Lin", "Maya", "Otto", "Bao"]), draw.choice(WORDS)
        if n % 2:
            asked = f"{who} bought {what}, order {number} is {state}. State?"
        else:
            asked = f"{who} 买了 {what}，订单 {number} 是 {state}。State?"
        messages = [{"role": "user", "content": asked}]
        if n < count:
            messages.append({"role": "assistant", "content": state})
        rows.append({"id": f"{n}", "task_type": "order/state", "messages": messages, "is": state})
    return rows


@pytest.mark.slow
def test_the_built_in_model_learns_labels_and_may_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """24 of 24 held-out ones agree, so by Wilson's interval at least 0.86 do: enough for 0.85."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    rows = orders(60, 4)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path("orders.jsonl").write_text(text, "utf-8")
    words = ["data", "make", "bulk-label", "orders.jsonl", "--held-out", "0.4", "-n", "done"]
    for setting in ("epochs=1", "batch_records=4", "learning_rate=1e-3"):
        words += ["--set", f"training.{setting}"]
    assert run([*words, "--set", "data.eval_share=0", "--max-new-tokens", "6"]) == 0
    assert "order/state: 24 of 24 agree" in capsys.readouterr().err
    version = Store().find("done")
    assert version.manifest.fates() == {"kept": 60, "edited": 4}
    answered = [one for one in version.records() if "made" in one.meta]
    assert [one.messages[-1].content for one in answered] == [row["is"] for row in rows[60:]]
