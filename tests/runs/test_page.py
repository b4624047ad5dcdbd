from __future__ import annotations

import pytest

from danlu.config.recipe import Recipe
from danlu.runs import Dropped, Rejected, Sample
from danlu.runs.page import before_after, drop_counts, sample_views, setting_views


def view(before: str | None, after: str | None):
    return sample_views([Sample(prompt="?", before=before, after=after)])[0]


def test_pieces_of_an_answer_join_to_the_answer():
    before, after = "The capital is Paris, of course.", "The capital is Rome, of course."
    found = view(before, after)
    assert "".join(text for text, _ in found.before) == before
    assert "".join(text for text, _ in found.after) == after
    assert [text for text, differs in found.after if differs] == ["Rome"]


def test_chinese_is_compared_by_the_character():
    found = view("我是一个助手。", "我是一个丹炉。")
    assert [text for text, differs in found.after if differs] == ["丹炉"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Nothing in common here.", "我是丹炉。"),
        ("a " * 500, "a " * 499 + "b "),
        ("", "An answer."),
    ],
)
def test_answers_too_unlike_or_too_long_are_changed_without_marks(before, after):
    found = view(before, after)
    assert found.changed is True
    assert found.after == [(after, False)]


def test_an_answer_that_is_missing_is_neither_changed_nor_the_same():
    assert view("a", None).changed is None
    assert view("a", "a").changed is False


def test_reasons_are_counted_the_most_frequent_first():
    drops = [
        Dropped(record_id="1", task_type="a/x", reason="nothing to learn"),
        Dropped(record_id="2", task_type="a/x", branch=0, reason="overlong", detail="9 tokens"),
        Dropped(record_id="3", task_type="b/y", branch=1, reason="overlong"),
    ]
    overlong, nothing, broken = drop_counts(drops, [Rejected(file="f", line=3, reason="not JSON")])
    assert (overlong.reason, overlong.count) == ("overlong", "2 branches")
    assert (overlong.spread, overlong.example) == ("a/x 1, b/y 1", "2: 9 tokens")
    assert (nothing.count, broken.count) == ("1 record", "1 line")


def test_too_many_reasons_are_summed_up():
    lines = [Rejected(file="f", line=k, reason="reason " + "x" * k) for k in range(30)]
    assert drop_counts([], lines)[-1].reason == "10 further reasons"
    assert drop_counts([], lines)[-1].count == "10 times"


def test_lines_broken_at_different_places_are_broken_for_one_reason():
    lines = [Rejected(file="f", line=k, reason=f"not JSON at column {k}") for k in (2, 77)]
    (found,) = drop_counts([], lines)
    assert (found.reason, found.count) == ("not JSON at column …", "2 lines")


def test_checks_need_all_three_figures():
    assert before_after({"q": {"a_before": 1, "a_total": 2}, "n": 3}) == []


def test_every_setting_of_a_recipe_is_shown_once():
    views = setting_views(Recipe(name="r").model_dump())
    assert [view.path for view in views if view.changed] == ["name"]
    paths = [view.path for view in views]
    assert len(paths) == len(set(paths))
    assert {"training.learning_rate", "tuning.lora_options", "data.train"} <= set(paths)


def test_a_setting_of_another_version_is_shown_as_changed():
    views = {view.path: view for view in setting_views({"training": {"magic": 3}})}
    assert views["training.magic"].changed
    assert views["training.magic"].default == ""
