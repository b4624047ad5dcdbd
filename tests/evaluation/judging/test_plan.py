"""The plan: shipped and one's own, what is usable, and what is wrong with it."""

from pathlib import Path

import pytest

from danlu.errors import DanluError, EvaluationError
from danlu.evaluation.judging.plan import load_plan
from danlu.evaluation.schema import Item
from tests.evaluation.judging.judges import item

OWN = """\
dimensions:
  polite:
    en: Is it polite?
    zh: 是否礼貌？
    bands: {en: "1: rude, 10: polite", zh: "1 粗鲁，10 礼貌"}
task_types:
  "support/*":
    dimensions: {polite: 1, helpful: 3}
    at_least: {polite: 4}
    usable_from: 6
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(OWN, "utf-8")
    return path


def test_ones_own_lies_over_the_shipped(own: Path) -> None:
    plan = load_plan(own)
    assert list(plan.of_item(item("1", "Help!", "support/faq"))) == ["helpful", "polite"]
    assert list(plan.of_item(item("1", "2+2?"))) == ["correct", "follows_instruction"]
    assert plan.fingerprint() != load_plan().fingerprint() == load_plan().fingerprint()


def test_the_formula(own: Path) -> None:
    """(1 * 5 + 3 * 7) / 4 = 6.5 is enough for 6; polite below 4 is not usable at any mean."""
    plan = load_plan(own)
    made = plan.usability("support/faq", {"polite": 5, "helpful": 7})
    assert (made.usable, made.score, made.below) == (1, 6.5, ())
    assert plan.usability("support/faq", {"polite": 7, "helpful": 5}).usable == 0
    assert plan.usability("support/faq", {"polite": 3, "helpful": 10}).below == ("polite",)


def test_a_system_message_is_judged_only_where_there_is_one() -> None:
    plan = load_plan()
    asked = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    with_system = Item(id="1", task_type="dialogue/role", messages=asked)
    assert "follows_system" in plan.of_item(with_system)
    assert "follows_system" not in plan.of_item(item("2", "u", "dialogue/role"))
    plan = plan.model_copy(update={"dimensions": {"x": plan.dimensions["follows_system"]}})
    rule = plan.task_types["*"].model_copy(update={"dimensions": {"x": 1.0}})
    with pytest.raises(EvaluationError, match="item 2 of a/b: no dimension that counts"):
        plan.model_copy(update={"task_types": {"*": rule}}).of_item(item("2", "u", "a/b"))


def test_every_shipped_rule_names_dimensions_that_are_there() -> None:
    plan = load_plan()
    for pattern, rule in plan.task_types.items():
        assert {*rule.dimensions, *rule.at_least} <= set(plan.dimensions), pattern
        assert set(rule.at_least) <= set(rule.dimensions), pattern
    assert list(plan.task_types)[-1] == "*"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("polite: 1,", "polte: 1,", r"yaml:7: support/\*: no dimension 'polte'. Did you mean"),
        ("usable_from: 6", "usable_form: 6", r"yaml:10: .*unknown key. Did you mean 'usable_from'"),
        ("usable_from: 6", "usable_from: 11", r"yaml:10: .*less than or equal to 10"),
        ("polite: 1, helpful: 3", "polite: 0, helpful: 0", "one above 0"),
        ("at_least: {polite", "at_least: {honest", "honest has a lowest score, and is no"),
        ("  polite:\n", "  a/b:\n", "without '/'"),
        ("    zh: 是否礼貌？\n", "", r"yaml:2: dimensions.polite.zh: Field required"),
        ("dimensions:\n  polite", "dimensions:\n\t polite", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(own: Path, old: str, new: str, said: str) -> None:
    own.write_text(OWN.replace(old, new, 1), "utf-8")
    with pytest.raises(DanluError, match=said):
        load_plan(own)
