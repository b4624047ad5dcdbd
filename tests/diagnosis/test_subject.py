"""A run opened to be probed: data as it was trained, answers kept, and what is gone said so."""

from __future__ import annotations

import json
import shutil

import pytest

from danlu.diagnosis.asking import Ask, Budget, Pair, greedy
from danlu.diagnosis.kept import Kept, folder_stamp
from danlu.diagnosis.subject import Subject
from danlu.errors import RunError
from danlu.generation.interface import Sampling
from danlu.records.record import Message
from danlu.runs import RunDirectory


def test_examples_are_what_the_run_saw(tiny_run):
    subject = Subject.open(tiny_run)
    train, held_out = subject.examples.draw("train"), subject.examples.draw("eval")
    assert subject.examples.counts("train") == subject.resolved.records
    assert subject.examples.counts("eval") == subject.resolved.eval_records
    assert not {one.record for one in train} & {one.record for one in held_out}
    assert len(train) + len(held_out) == 14
    assert subject.notes == []
    one = next(e for e in train + held_out if e.record == "r4")
    assert one.ask.messages == (Message("user", "Say water wood metal earth furnace iron"),)
    assert one.answer == "iron furnace earth metal wood water"
    # The tokens are those that asking the question anew gives, and the answer ends with a stop.
    generator = subject.tuned.ready().generator
    assert list(one.ask.token_ids) == generator.encode(one.ask.messages)
    assert one.answer_ids[-1] in generator.stop_ids
    # Of two turns the last is asked, with the first before it.
    [long] = subject.examples.of_records("train", ["r0"]) or subject.examples.of_records(
        "eval", ["r0"]
    )
    assert [message.role for message in long.ask.messages] == ["user", "assistant", "user"]
    assert long.answer == "炉 0"


def test_a_draw_is_repeatable_and_grows(tiny_run):
    examples = Subject.open(tiny_run).examples
    one, two = examples.draw("train", 1), examples.draw("train", 2)
    assert [e.record for e in one] == [e.record for e in examples.draw("train", 1)]
    assert {e.record for e in one} < {e.record for e in two}
    other = [{e.record for e in examples.draw("train", 1, seed=seed)} for seed in range(1, 6)]
    assert any(ids != {e.record for e in one} for ids in other)
    [only] = examples.draw("train", 1, task_types=["say/long"])
    assert only.task_type == "say/long"


def test_records_gone_or_changed_are_told_and_shown_by_their_tokens(tiny_run, tmp_path):
    subject = Subject.open(tiny_run)
    source = tmp_path / "moved.jsonl"
    shutil.copy(subject.recipe.data.train[0].path, source)
    resolved = json.loads((tiny_run.path / "resolved.json").read_text())
    resolved["recipe"]["data"]["train"][0]["path"] = str(source)
    (tiny_run.path / "resolved.json").write_text(json.dumps(resolved))
    before = {e.record: e for e in Subject.open(tiny_run).examples.draw("train")}
    # One record is another one now.
    source.write_text(source.read_text().replace('"id": "r4"', '"id": "x4"'))
    changed = Subject.open(tiny_run)
    after = {e.record: e for e in changed.examples.draw("train")}
    touched = "r4" if "r4" in before else None
    for name, example in before.items():
        assert after[name].ask.token_ids == example.ask.token_ids
        assert after[name].answer == example.answer
    if touched:
        assert after["r4"].ask.is_text
        assert "Say water wood" in after["r4"].question
        assert "1 of" in changed.notes[0]
    source.unlink()
    gone = Subject.open(tiny_run)
    assert {e.record for e in gone.examples.draw("train")} == set(before)
    assert str(source) in gone.notes[0]


def test_data_prepared_anew_are_the_same(tiny_run):
    mapped = Subject.open(tiny_run).examples
    shutil.rmtree(tiny_run.path / "prepared")
    anew = Subject.open(tiny_run).examples
    for part in ("train", "eval"):
        assert anew.draw(part) == mapped.draw(part)


def test_what_was_asked_is_kept_and_equal(tiny_run):
    subject = Subject.open(tiny_run)
    examples = subject.examples.draw("train", 2)
    asks, pairs = [e.ask for e in examples], [e.pair() for e in examples]
    answers = subject.tuned.answer(asks, greedy(6))
    found = subject.tuned.likelihoods(pairs)
    again = Subject.open(tiny_run)
    again.tuned._load = pytest.fail  # nothing is loaded a second time
    assert again.tuned.answer(asks, greedy(6)) == answers
    assert again.tuned.likelihoods(pairs) == found
    # What training moved is what is asked: the tuned model likes its answers better.
    base = subject.base.likelihoods(pairs)
    assert sum(one.nll for one in found) < sum(one.nll for one in base)
    # Token ids and the rendering of the messages give the same probability.
    for e, one in zip(examples, found, strict=True):
        [rendered] = subject.tuned.likelihoods([Pair(Ask(e.ask.messages), e.answer)])
        assert rendered.tokens == one.tokens
        assert rendered.logprob == pytest.approx(one.logprob, abs=1e-4)


def test_another_model_or_sampling_is_asked_anew(tiny_run):
    subject = Subject.open(tiny_run)
    [ask] = [e.ask for e in subject.examples.draw("train", 1, task_types=["say/long"])]
    [short] = subject.tuned.answer([ask], greedy(1))
    [longer] = subject.tuned.answer([ask], greedy(5))
    assert short.tokens == 1
    assert longer.text.startswith(short.text)
    drawn = [
        subject.tuned.answer([ask], Sampling(max_new_tokens=5, temperature=3.0, seed=seed))[0].text
        for seed in range(3)
    ]
    assert len(set(drawn)) > 1
    stamp = folder_stamp(tiny_run.adapter_path)
    weights = tiny_run.adapter_path / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert folder_stamp(tiny_run.adapter_path) != stamp


def test_plain_text_goes_on_and_is_scored(tiny_run):
    base = Subject.open(tiny_run).base
    [reply] = base.answer([Ask.text("iron and")], greedy(4))
    assert reply.tokens <= 4
    [likely] = base.likelihoods([Pair(Ask.text("iron and"), " fire")])
    assert likely.logprob < 0


def test_the_budget_ends_the_asking(tiny_run):
    subject = Subject.open(tiny_run, budget=Budget(tokens=0))
    asks = [e.ask for e in subject.examples.draw("train")]
    assert subject.tuned.answer(asks, greedy(3)) == [None] * len(asks)
    assert subject.remarks() == [f"{len(asks)} questions were left out: the time allowed was over."]
    assert not Budget(seconds=0).is_spent  # the clock starts at the first question
    begun = Budget(seconds=0)
    begun.begin()
    assert begun.is_spent


def test_a_torn_line_is_asked_again(tmp_path):
    kept = Kept(tmp_path / "a" / "asked.jsonl")
    kept.put("1", {"text": "丹炉"})
    kept.put("2", {"text": "b"})
    whole = kept.path.read_bytes()
    kept.path.write_bytes(whole[:-5])
    again = Kept(kept.path)
    assert again.get("1") == {"text": "丹炉"}
    assert again.get("2") is None
    again.put("2", {"text": "b"})
    assert kept.path.read_bytes() == whole


def test_a_run_that_never_began_is_refused(tmp_path):
    run = RunDirectory.create(tmp_path / "empty")
    run.close()
    with pytest.raises(RunError, match="before its first step"):
        Subject.open(run)
    with pytest.raises(RunError, match="no such run"):
        Subject.open(tmp_path / "nothing")
