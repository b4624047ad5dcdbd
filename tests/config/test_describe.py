"""Every setting is described, and what is shown can be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.config import annotated, describe, load_recipe, shipped_recipes


def test_every_setting_has_a_meaning_that_is_a_sentence() -> None:
    rows = describe()
    assert len(rows) > 50
    assert len({row.path for row in rows}) == len(rows)
    for row in rows:
        assert row.meaning.endswith((".", "...")), row.path
        assert row.type, row.path


def test_values_defaults_and_what_was_given() -> None:
    rows = {row.path: row for row in describe(load_recipe("sft-full", ["data.train=[a, b]"]))}
    rate = rows["training.learning_rate"]
    assert (rate.value, rate.default, rate.given, rate.type) == (2e-5, 2e-4, True, "number > 0")
    assert rate.source
    assert not rows["training.seed"].given
    assert rows["name"].required
    assert rows["data.train[1].path"].value == "b"
    assert rows["data.eval_share"].type == "number >= 0.0 and < 1.0"
    assert rows["tuning.lora_targets"].type == "list of text or all-linear"
    assert rows["training.max_steps"].type == "whole number > 0 or null"


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_what_is_shown_is_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["samples.prompts=['你好\\n', 'a: b']", "data.train=[a, {path: b}]"])
    path = tmp_path / "shown.yaml"
    path.write_text(annotated(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_every_setting_that_does_something_is_shown(tmp_path: Path) -> None:
    recipe = load_recipe("sft-lora")
    text = annotated(recipe)
    for row in describe():
        section, _, last = row.path.rpartition(".")
        reads = getattr(getattr(recipe, section, None), "reads", lambda name: True)
        shown = f" {last}:" in text or f"#{last}:" in text or text.startswith(f"{last}:")
        if section in ("tuning", "objective"):
            assert shown == reads(last), row.path
        elif section != "rollouts":
            assert f"{last}:" in text, row.path
    assert max(len(line) for line in text.splitlines()) <= 100


def test_uncommenting_a_default_changes_nothing(tmp_path: Path) -> None:
    recipe = load_recipe("sft-lora")
    path = tmp_path / "all.yaml"
    lines = annotated(recipe).splitlines()
    live = [
        line.replace("#", "", 1)
        if line.lstrip()[:2].strip() not in ("#", "") and line.lstrip().startswith("#")
        else line
        for line in lines
    ]
    path.write_text("\n".join(live), encoding="utf-8")
    assert load_recipe(path).model_dump() == recipe.model_dump()
