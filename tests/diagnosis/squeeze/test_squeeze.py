"""The order of a squeeze and what is said of it, with a measurer that answers from a rule."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.config import load_recipe
from danlu.config.recipe import Recipe
from danlu.diagnosis.squeeze.plan import Plan, Wish, plan_of
from danlu.diagnosis.squeeze.scores import Scores, Side
from danlu.diagnosis.squeeze.squeeze import Squeezed, squeeze
from danlu.diagnosis.squeeze.written import write_squeeze
from danlu.diagnosis.sweep.trials import Trial
from danlu.errors import RecipeError
from danlu.runs.findings import read_probes
from danlu.workshop.operations.shares import Targets
from danlu.workshop.operations.shares import plan as mix_plan

ASKED = 20


def side(right: int, probability: float = 0.5, of: int = ASKED) -> Side:
    return Side(tuple(k < right for k in range(of)), ("said",) * of, probability)


BEFORE = Scores(side(0, 0.1), side(16, 0.9))
Rule = Callable[[float], tuple[int, int]]
"""Right answers of the target and of the general questions, by how much of the target there is."""


class Ruled:
    """Trains nothing; ``seen`` are the names of the trials."""

    def __init__(self, rule: Rule, most: int = 99) -> None:
        self.rule, self.most = rule, most
        self.seen: list[str] = []

    def measure(self, trial: Trial) -> Scores | None:
        if len(self.seen) == self.most:
            return None
        self.seen.append(trial.recipe.name)
        ((name, text),) = trial.label.items()
        if name == "alone":
            text = "1" if text == "own" else "10"
        trial.run.mkdir(parents=True, exist_ok=True)
        target, general = self.rule(float(text))
        return Scores(side(target, target / ASKED), side(general, general / ASKED))

    def before(self) -> Scores:
        return BEFORE


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten records of the target in two task types, thirty others."""
    types = ["me/name"] * 6 + ["me/maker"] * 4 + ["say/word"] * 20 + ["talk/any"] * 10
    rows = [
        {"id": f"r{k}", "task_type": name, "prompt": f"p{k}", "completion": "c"}
        for k, name in enumerate(types)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def recipe_of(path: Path, **sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "mine", "data": {"train": [str(path)]}} | sections)


def planned(data: Path, **wish: Any) -> Plan:
    return plan_of(recipe_of(data), Wish("me", **wish), data.parent / "out")


def told(found: Squeezed) -> tuple[dict[str, Any], str]:
    rows, report = write_squeeze(found, "some questions", "danlu squeeze mine --task me")
    (finding,) = report.findings
    return rows, finding.name


def test_the_task_alone_first_then_the_share_and_the_best_of_what_fits(data: Path):
    measurer = Ruled(lambda share: (20 if share >= 0.2 else 9, 16 - round(8 * max(0, share - 0.3))))
    plan = planned(data, runs=6)
    found = squeeze(plan, measurer)
    # A quarter of the records are of the target.
    assert measurer.seen == [
        "alone=own", "share=0.25", "share=0.625", "share=0.438", "share=0.125", "share=0.344",
    ]  # fmt: skip
    assert found.outcome == "found"
    assert found.best is not None
    assert found.best.setting == 0.25  # as good as 0.344, and farther from 0.438
    rows, name = told(found)
    assert name == "squeezed"
    assert rows["best"] == 0.25
    assert [one["setting"] for one in rows["runs"]] == [1.0, 0.25, 0.625, 0.438, 0.125, 0.344]
    assert rows == json.loads((plan.folder / "squeeze.json").read_text("utf-8"))
    page = (plan.folder / "squeeze.html").read_text("utf-8")
    assert page.count("<svg") == 2
    assert "learned and kept" in page
    used = load_recipe(plan.folder / "squeezed.yaml")
    assert used.data.mix.targets == {"me": 0.25}
    assert used.name == "mine-squeezed"
    assert used.model_copy(update={"name": "mine", "data": plan.recipe.data}) == plan.recipe
    (report,) = read_probes(found.best.trial.run)
    assert report.probe == "squeeze"
    assert report.findings[0].remedies[0].commands == (f"danlu train {plan.folder}/squeezed.yaml",)


def test_an_upper_end_that_is_not_learned_is_the_ceiling(data: Path):
    measurer = Ruled(lambda share: (12, 16))
    found = squeeze(planned(data), measurer)
    assert measurer.seen == ["alone=own", "alone=10"]
    assert found.outcome == "ceiling"
    rows, name = told(found)
    assert (name, rows["best"], rows["recipe"]) == ("ceiling", None, None)
    assert "12 of 20" in rows["says"]
    assert not (found.plan.folder / "squeezed.yaml").exists()


def test_ten_epochs_alone_are_trained_where_the_recipes_own_do_not_do(data: Path):
    measurer = Ruled(lambda share: (20 if share == 10 else 12, 16))
    found = squeeze(planned(data), measurer)
    assert measurer.seen == ["alone=own", "alone=10"]  # at any share there is less of the target
    assert found.outcome == "never-learned"
    assert told(found)[1] == "not-reached"
    (remedy,) = read_probes(found.tried[-1].trial.run)[0].findings[0].remedies
    assert remedy.commands == ("danlu squeeze RECIPE --task me --over epochs",)


def test_no_setting_where_it_is_learned_too_late(data: Path):
    found = squeeze(
        planned(data), Ruled(lambda share: (20 if share > 0.5 else 9, 16 if share < 0.4 else 9))
    )
    assert found.outcome == "apart"
    assert told(found)[1] == "no-setting"


def test_a_budget_of_runs_and_of_time(data: Path):
    rule: Rule = lambda share: (20 if share > 0.5 else 9, 16 if share < 0.55 else 9)  # noqa: E731
    few = squeeze(planned(data, runs=2), Ruled(rule))
    assert few.outcome == "unfinished"
    assert told(few)[1] == "squeeze-unfinished"
    none = squeeze(planned(data), Ruled(rule, most=0))
    assert (none.outcome, none.tried) == ("unfinished", [])
    with pytest.raises(ValueError, match="nothing was measured"):
        write_squeeze(none, "", "")
    cut = squeeze(planned(data), Ruled(rule, most=3))
    whole = squeeze(planned(data), Ruled(rule))
    assert cut.tried == whole.tried[:3]  # so that going on is the same as never having stopped


def test_of_equal_scores_the_one_farthest_from_failure_is_best_then_the_likelier(data: Path):
    rule: Rule = lambda share: (20 if share > 0.2 else 9, 16 if share < 0.9 else 9)  # noqa: E731
    found = squeeze(planned(data, runs=3), Ruled(rule))
    assert found.best is not None
    assert list(found.verdicts) == [1.0, 0.25, 0.625]
    assert found.best.setting == 0.625  # 0.375 from what is lost; 0.25 is as far from nothing
    likelier = Scores(side(20, 0.99), side(16, 0.99))
    found.tried = [
        replace(one, setting=setting, scores=scores)
        for one, setting, scores in zip(
            found.tried, (1.0, 0.4, 0.6), (found.tried[0].scores, likelier, found.tried[2].scores),
            strict=True,
        )
    ]  # fmt: skip
    assert found.best.setting == 0.4


def test_learning_rates_and_epochs_change_nothing_else(data: Path):
    rates = planned(data, over="learning_rate")
    assert rates.at(1e-4).recipe.training.learning_rate == 1e-4
    assert rates.recipe_at(1e-4).data == rates.recipe.data
    epochs = planned(data, over="epochs")
    assert epochs.at(2.5).recipe.training.epochs == 2.5
    measurer = Ruled(lambda epochs: (20, 16))
    found = squeeze(planned(data, over="epochs", runs=2), measurer)
    assert measurer.seen == ["alone=own", "epochs=3"]  # the task alone is no number of epochs
    assert found.tried[0].setting is None


@pytest.mark.parametrize("task", ["me", "me/name"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.95, 1.0])
def test_the_mix_has_the_share_asked_for(data: Path, task: str, share: float):
    plan = plan_of(recipe_of(data), Wish(task), data.parent / "out")
    mix = plan.mix(share)
    groups: Counter[str] = Counter()
    for name, count in plan.counts.items():
        groups[name.partition("/")[0] if mix.by == "area" else name] += count
    rows = mix_plan(groups, Targets.parse(mix.targets), total=mix.total, repeats=mix.repeats)
    planned = {row.name: row.planned for row in rows}
    assert not any(row.bound for row in rows)
    assert sum(planned.values()) == pytest.approx(40)
    assert planned[task] == pytest.approx(40 * share)


@pytest.mark.parametrize(
    ("sections", "wish", "says"),
    [
        ({}, {"task": "mee"}, r"no record is of task 'mee'.*Did you mean 'me'"),
        ({}, {"goal": 1.5}, "both are shares"),
        ({}, {"over": "epochs", "records": 5}, "--records"),
        ({"objective": {"name": "dpo"}}, {}, "learns none"),
        ({"training": {"max_steps": 3}}, {"over": "epochs"}, "training.max_steps"),
    ],
)
def test_what_cannot_be_squeezed(data: Path, sections, wish, says):
    with pytest.raises(RecipeError, match=says):
        plan_of(recipe_of(data, **sections), Wish(**{"task": "me", **wish}), data.parent)


def test_a_task_that_is_not_there_is_answered_with_each_task_type_once(data: Path):
    with pytest.raises(RecipeError) as caught:
        plan_of(recipe_of(data), Wish("zzz"), data.parent)
    assert "Did you mean" not in str(caught.value)
    for name in {json.loads(line)["task_type"] for line in data.read_text("utf-8").splitlines()}:
        assert str(caught.value).count(name) == 1


def test_a_share_needs_something_to_be_mixed_with_and_no_other_mix(data: Path):
    lines = data.read_text("utf-8").splitlines(keepends=True)[:10]
    data.write_text("".join(lines), "utf-8")
    with pytest.raises(RecipeError, match="nothing to mix it with"):
        planned(data)
    assert planned(data, over="epochs").target_records == 10
    mixed = {"train": [str(data)], "mix": {"targets": {"me/name": 3}}}
    with pytest.raises(RecipeError, match="a mix of its own"):
        plan_of(recipe_of(data, data=mixed), Wish("me"), data.parent)


def test_figures_have_their_intervals():
    from danlu.diagnosis.squeeze.telling import general_change

    change = general_change(side(14), side(16))
    assert change.value == pytest.approx(-0.1)
    assert change.low < -0.1 < change.high
    assert np.isclose(general_change(side(16), side(16)).value, 0)
