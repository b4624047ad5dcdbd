"""Responses to branches that know how good they are."""

import math

import numpy as np
import pytest

from danlu.config.recipe import SequencesSection
from danlu.records.record import Message, Record, Response
from danlu.sequences import explain_rows
from danlu.sequences.answers import verdicts
from danlu.sequences.branch import Verdict
from danlu.sequences.prepare import prepare
from danlu.sequences.split import hold_out
from danlu.sequences.template import ChatTemplate

ASKED = (Message("user", "Is it hot?"),)


@pytest.fixture(scope="module")
def template(tiny_tokenizer):
    return ChatTemplate.load(tiny_tokenizer)


def record(name, *responses, messages=ASKED):
    return Record(name, "a/b", messages, responses=responses)


def compared(records, tiny_tokenizer, template, take="compared", **settings):
    return prepare(records, tiny_tokenizer, template, SequencesSection(**settings), answers=take)


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        ([Response("a", rank=2), Response("b", rank=1)], [(2, -1), (1, 1)]),
        ([Response("a", score=1.0), Response("b", score=3.0)], [(2, -1), (1, 1)]),
        ([Response("a", score=3.0), Response("b", score=3.0)], [(1, 0), (1, 0)]),
        ([Response("a", label=True), Response("b", label=False)], [(1, 1), (2, -1)]),
        ([Response("a", label=False)], [(1, -1)]),
        ([Response("a"), Response("b", score=1.0)], [(0, 0), (0, 0)]),
        # What is given is kept, also where it contradicts.
        ([Response("a", rank=1, label=False), Response("b", rank=2)], [(1, -1), (2, -1)]),
    ],
)
def test_ranks_and_thumbs_follow_from_each_other(responses, expected):
    assert [(one.rank, one.label) for one in verdicts(responses)] == expected


def test_a_branch_is_what_the_turn_of_the_answer_would_be(tiny_tokenizer, template):
    answers = ("Yes, red hot.", "No")
    both = record("r", *(Response(text, rank=k + 1) for k, text in enumerate(answers)))
    prepared = compared([both], tiny_tokenizer, template)
    for branch, text in zip(prepared.record(0), answers, strict=True):
        turn = Record("t", "a/b", (*ASKED, Message("assistant", text)))
        alone = prepare([turn], tiny_tokenizer, template, SequencesSection()).branch(0)
        assert branch.input_ids.tolist() == alone.input_ids.tolist()
        assert branch.weights.tolist() == alone.weights.tolist()
        assert branch.prompt_tokens == alone.prompt_tokens
    assert [branch.verdict.rank for branch in prepared.record(0)] == [1, 2]


def test_verdicts_survive_saving_and_splitting(tiny_tokenizer, template, tmp_path):
    records = [
        record(f"r{k}", Response("a" * (k + 1), score=1.5), Response("b", score=k + 2.0))
        for k in range(10)
    ]
    prepared = compared(records, tiny_tokenizer, template)
    prepared.save(tmp_path / "data")
    loaded = type(prepared).load(tmp_path / "data")
    train, held = hold_out(loaded, 0.3, seed=1)
    assert len(held) == 3
    for part in (train, held):
        for r in range(len(part)):
            k = int(part.record_ids[r][1:])
            assert [b.verdict for b in part.record(r)] == [
                Verdict(2, 1.5, -1),
                Verdict(1, k + 2.0, 1),
            ]
    other = [record("r0", Response("a", score=9.0), Response("b", score=2.0)), *records[1:]]
    assert compared(other, tiny_tokenizer, template).fingerprint != prepared.fingerprint


@pytest.mark.parametrize(
    ("record_", "take", "reason", "detail"),
    [
        (record("r"), "compared", "nothing to learn", "no responses"),
        (record("r", Response("a", rank=1), messages=()), "compared", "nothing to learn", "before"),
        (record("r", Response("a"), Response("b")), "compared", "no verdict", "not every"),
        (record("r", Response("a", rank=1)), "compared", "nothing to compare", "of one rank"),
        (
            record("r", Response("a", rank=1), Response("", rank=2)),
            "compared",
            "nothing to compare",
            "response 2: ",
        ),
        (record("r", Response("a"), Response("b")), "judged", "no verdict", "no response has"),
    ],
)
def test_what_cannot_be_used_is_told(record_, take, reason, detail, tiny_tokenizer, template):
    prepared = compared([record_], tiny_tokenizer, template, take)
    assert len(prepared) == 0
    [drop] = prepared.drops
    assert (drop.reason, drop.branch) == (reason, None)
    assert detail in drop.detail


def test_an_answer_without_a_thumb_is_left_out_alone(tiny_tokenizer, template):
    mixed = record("r", Response("a", label=True), Response("b"))
    prepared = compared([mixed], tiny_tokenizer, template, "judged")
    assert prepared.branches == 1
    assert [(drop.branch, drop.reason) for drop in prepared.drops] == [(1, "no verdict")]


def test_all_answers_keep_the_same_prompt_when_it_is_cut(tiny_tokenizer, template):
    long = (Message("user", "hot iron " * 20),)
    answers = (Response("a", rank=1), Response("red " * 8, rank=2))
    prepared = compared(
        [record("r", *answers, messages=long)],
        tiny_tokenizer,
        template,
        max_length=40,
        overlong="truncate_prompt_left",
    )
    a, b = prepared.record(0)
    assert len(b.input_ids) == 40 > len(a.input_ids)
    assert a.prompt_tokens == b.prompt_tokens
    prompts = [branch.input_ids[: branch.prompt_tokens] for branch in (a, b)]
    assert np.array_equal(*prompts)


def test_a_record_that_loses_an_answer_to_its_length_is_not_compared(tiny_tokenizer, template):
    answers = (Response("a", rank=1), Response("red iron " * 30, rank=2))
    prepared = compared([record("r", *answers)], tiny_tokenizer, template, max_length=32)
    assert len(prepared) == 0
    assert [drop.reason for drop in prepared.drops] == ["overlong", "nothing to compare"]


def test_three_answers_may_lose_one(tiny_tokenizer, template):
    answers = (Response("a", rank=1), Response("b", rank=2), Response("red iron " * 30, rank=3))
    prepared = compared([record("r", *answers)], tiny_tokenizer, template, max_length=32)
    assert [branch.verdict.rank for branch in prepared.record(0)] == [1, 2]


@pytest.mark.parametrize(("scores", "kept"), [((10, 4), True), ((8, 4), True), ((7, 4), False)])
def test_pairs_with_scores_too_near_are_left_out(scores, kept, tiny_tokenizer, template):
    pair = record("r", *(Response(f"a{score}", score=float(score)) for score in scores))
    prepared = compared([pair], tiny_tokenizer, template, min_score_ratio=2.0)
    assert len(prepared) == kept
    if not kept:
        assert prepared.drops[0].reason == "scores too near"
        assert "7 against 4" in prepared.drops[0].detail


def test_explained_answers_say_how_good_they_are(tiny_tokenizer, template):
    records = [record("r", Response("Yes", score=2.5), Response("No", score=1.0))]
    prepared = compared(records, tiny_tokenizer, template)
    common = (tiny_tokenizer, template, SequencesSection(), "compared")
    rows = list(explain_rows(prepared, records, *common))
    assert [(row["rank"], row["score"], row["label"]) for row in rows] == [
        (1, 2.5, "up"),
        (2, 1.0, "down"),
    ]
    assert rows[0]["completion_text"].startswith("Yes")
    assert all(rows[0]["shared"][: rows[0]["prompt_tokens"]])


def test_a_verdict_without_a_score_has_none():
    assert math.isnan(verdicts([Response("a", rank=1)])[0].score)
