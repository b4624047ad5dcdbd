"""A run's mix: what an epoch takes, and that each epoch draws anew."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from danlu.config.data_sections import DataSource
from danlu.config.recipe import Recipe, SequencesSection
from danlu.errors import RecipeError, RunError
from danlu.records import Message, Record
from danlu.runs import RunDirectory
from danlu.sequences.prepare import prepare
from danlu.sequences.template import ChatTemplate
from danlu.training.data import load_data, make_data
from danlu.training.mixing import mix_lines, record_order
from danlu.training.order import Draw, RecordOrder
from danlu.training.run import train
from danlu.training.schedule import learning_rate


@pytest.fixture(scope="module")
def prepared(tiny_tokenizer):
    """20 records of a/x, 10 of a/y, 6 of b/z; each answer is one or two tokens and the stop."""
    records = [
        Record(
            f"{kind}{number}",
            kind,
            (Message("user", "one"), Message("assistant", "7" * (2 if kind == "b/z" else 1))),
        )
        for kind, count in (("a/x", 20), ("a/y", 10), ("b/z", 6))
        for number in range(count)
    ]
    template = ChatTemplate.load(tiny_tokenizer)
    return prepare(records, tiny_tokenizer, template, SequencesSection())


def recipe_with(**mix):
    return Recipe.model_validate({"name": "run", "data": {"mix": mix}, "training": {"seed": 3}})


def epoch_of(order: RecordOrder, epoch: int) -> list[int]:
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return [int(one) for step in steps for one in order.step(step)]


def test_without_a_mix_every_record_once(prepared):
    order = record_order(recipe_with(), prepared)
    assert sorted(epoch_of(order, 0)) == list(range(36))
    assert mix_lines(recipe_with(), prepared) == []


def test_each_epoch_has_the_mix_and_draws_anew(prepared):
    recipe = recipe_with(targets={"a/x": 5, "b/z": 15}, repeats=3)
    order = record_order(recipe, prepared)
    kinds = [prepared.channels[k] for k in prepared.record_channel]
    drawn = []
    for epoch in range(4):
        found = epoch_of(order, epoch)
        assert Counter(kinds[one] for one in found) == {"a/x": 5, "a/y": 10, "b/z": 15}
        assert set(Counter(found).values()) <= {1, 2, 3}
        drawn.append(frozenset(one for one in found if kinds[one] == "a/x"))
    assert len(set(drawn)) > 1
    assert epoch_of(record_order(recipe, prepared), 2) == epoch_of(order, 2)


def test_shares_by_area_and_tokens(prepared):
    """b/z has 6 records of 3 learned tokens, a 30 of 2: a third of the tokens is 9 and 6."""
    recipe = recipe_with(targets={"b": 1 / 3}, by="area", unit="tokens")
    assert mix_lines(recipe, prepared) == [
        "mix: a: 36 tokens asked, 36 in an epoch of 60",
        "mix: b: 18 tokens asked, 18 in an epoch of 18",
    ]
    order = record_order(recipe, prepared)
    channels = np.asarray(prepared.record_channel)[epoch_of(order, 1)]
    assert int((channels == 2).sum()) == 6
    assert int((channels < 2).sum()) == 18


def with_sources(recipe: Recipe, *paths: str) -> Recipe:
    sources = [DataSource(path=path) for path in paths]
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": sources})})


def test_sources_by_path_name_and_version(prepared):
    """Of 36 records 16 are of a file, the next 12 of a version, the last 8 of another file."""
    given = replace(prepared, source_ends=(16, 28, 36))
    recipe = recipe_with(targets={"open:own:raw/b.jsonl": "1:3:1"}, by="source", repeats=3)
    recipe = with_sources(recipe, "raw/open.jsonl", "version:own@2", "raw/b.jsonl")
    order = record_order(recipe, given)
    for epoch in range(2):
        found = np.array(epoch_of(order, epoch))
        own = (found >= 16) & (found < 28)
        assert ((found < 16).sum(), own.sum(), (found >= 28).sum()) == (12, 36, 12)
    assert set(epoch_of(order, 0)) != set(epoch_of(order, 1))
    assert mix_lines(recipe, given)[0] == "mix: open: 12 records asked, 12 in an epoch of 16"
    lost = with_sources(recipe_with(targets={"opened": 3}, by="source"), "open.jsonl", "b", "c")
    with pytest.raises(RecipeError, match="opened"):
        record_order(lost, given)


def test_where_sources_end_is_kept_for_a_resumed_run(tiny_tokenizer, tmp_path):
    """What is dropped or held out does not shift who came from where."""
    rows = [{"prompt": f"one {k}", "completion": "7", "task_type": "a/b"} for k in range(12)]
    for name, some in (("few", rows[:3]), ("many", rows[3:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    recipe = recipe_with(targets={"few:many": "1:1"}, by="source")
    recipe = with_sources(recipe, str(tmp_path / "few.jsonl"), str(tmp_path / "many.jsonl"))
    data = recipe.data.model_copy(update={"eval_share": 0.25})
    recipe = recipe.model_copy(update={"data": data})
    template = ChatTemplate.load(tiny_tokenizer)
    folder = tmp_path / "data"
    made = make_data(recipe, tiny_tokenizer, template, directory=folder)
    loaded = load_data(recipe, tiny_tokenizer, template, folder)
    assert made.train.source_ends == loaded.train.source_ends == (3, 12)
    few = int((np.asarray(made.train.record_position) < 3).sum())
    assert few > 0
    order = record_order(recipe, loaded.train)
    assert len(epoch_of(order, 0)) == 2 * few
    assert epoch_of(order, 1) == epoch_of(record_order(recipe, made.train), 1)


def test_what_bounds_a_mix_is_said(prepared):
    lines = mix_lines(recipe_with(targets={"b/z": 30}, repeats=2), prepared)
    assert lines[-1] == (
        "mix: b/z: 30 records asked, 12 in an epoch, each 2.00 times (bound by repeats 2)"
    )


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ({"a/z": 3}, r"data\.mix: nothing is of 'a/z'"),
        ({"a/x": "lots"}, r"data\.mix: a/x: the target is 'lots'"),
        ({"a/x": 0, "a/y": 0, "b/z": 0}, r"data\.mix: the mix takes no record at all"),
    ],
)
def test_a_mix_that_cannot_be(prepared, targets, reason):
    with pytest.raises(RecipeError, match=reason):
        record_order(recipe_with(targets=targets), prepared)


def test_a_draw_has_the_same_size_each_epoch():
    draw = Draw(np.repeat([0, 1], 17), np.array([0.37, 1.61]), seed=5)
    assert {len(draw.epoch(epoch)) for epoch in range(20)} == {draw.size} == {6 + 27}


def metrics_of(run):
    return list(RunDirectory.open(run.path).metrics())


def test_a_run_learns_the_mix_and_resumes_in_it(tiny_recipe, monkeypatch):
    """Of 5, 5 and 4 records an epoch has 2, 5 and 8; so it takes 4 steps of 4 records, not 3."""
    mix = {"targets": {"say/long": 2, "talk/turns": 8}, "repeats": 2}
    sections = {
        "data": {"mix": mix},
        "training": {"epochs": 3},
        "checkpoints": {"every_steps": 3},
    }
    whole = metrics_of(train(tiny_recipe("whole", **sections), progress=False))
    rows = [row for row in whole if row.split == "train"]
    assert [row.step for row in rows] == list(range(1, 13))
    for epoch in range(3):
        learned = Counter()
        for row in rows[4 * epoch : 4 * epoch + 4]:
            learned.update({name: one.records for name, one in row.channels.items()})
        assert learned == {"say/short": 5, "say/long": 2, "talk/turns": 8}

    recipe = tiny_recipe("killed", **sections)
    calls = iter(range(99))

    def stop_at_the_eighth(*given):
        if next(calls) == 7:
            raise KeyboardInterrupt
        return learning_rate(*given)

    with monkeypatch.context() as patch:
        patch.setattr("danlu.training.loop.learning_rate", stop_at_the_eighth)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, progress=False)
    other = tiny_recipe("killed", **sections | {"data": {"mix": mix | {"repeats": 3}}})
    with pytest.raises(RunError, match="differ"):
        train(other, resume=True, progress=False)
    killed = metrics_of(train(recipe, resume=True, progress=False))
    assert [row.loss for row in killed] == [row.loss for row in whole]
