"""Checks that count: truncation and the share of the loss, in tokens and without."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.config.recipe import SequencesSection
from danlu.records import Message, Record, Response
from danlu.sequences import ChatTemplate
from danlu.sequences.prepare import prepare
from danlu.workshop.checks import Context, LossShare, Truncation
from danlu.workshop.checks.loss_share import repeats_needed
from danlu.workshop.checks.tokens import views
from tests.workshop.checks.trying import chat, chinese, english, run, talk


@pytest.fixture(scope="module")
def given(tiny_tokenizer: Any) -> Context:
    return Context(tokenizer=tiny_tokenizer, template=ChatTemplate.load(tiny_tokenizer))


def with_settings(context: Context, **settings: Any) -> Context:
    return Context(
        tokenizer=context.tokenizer,
        template=context.template,
        sequences=SequencesSection(**settings),
    )


def test_lengths_are_those_of_training(given: Context) -> None:
    records = [*english(40), *chinese(40), talk("t", "Hi", "Hello", "你叫什么？", "丹炉。")]
    settings = SequencesSection(max_length=100_000)
    prepared = prepare(records, given.tokenizer, given.template, settings)
    expected = prepared.prompt_tokens.tolist()
    measured = [one for view in views(records, given) for one in view.lengths or ()]
    assert [one.prompt for one in measured] == expected
    whole = (prepared.offsets[1:] - prepared.offsets[:-1]).tolist()
    assert [one.prompt + one.completion for one in measured] == whole


@pytest.mark.parametrize(
    ("overlong", "expected", "state"),
    [
        ("drop", "overlong", "attention"),
        ("truncate_prompt_left", "prompt_cut", "attention"),
        ("truncate_completion", "answer_cut", "fault"),
    ],
)
@pytest.mark.parametrize("word", ["furnace ", "炉"])
def test_truncation(given: Context, overlong: str, expected: str, state: str, word: str) -> None:
    records = [chat("short", word, word), chat("long", word * 60, word * 20)]
    [longest] = [view.lengths[0] for view in views(records[1:], given) if view.lengths]
    limit = longest.prompt + longest.completion - 1
    context = with_settings(given, max_length=limit, overlong=overlong)
    [finding], verdicts = run(Truncation(), records, context)
    assert (finding.record_id, finding.rule, finding.limit) == ("long", expected, limit)
    assert f"{finding.value:,} tokens (prompt " in finding.detail
    assert verdicts["a/b"].state == state
    assert verdicts["a/b"].figures["longest_tokens"] == finding.value
    enough = with_settings(given, max_length=int(finding.value), overlong=overlong)
    assert run(Truncation(), records, enough)[0] == []


def test_truncation_is_not_guessed() -> None:
    _, verdicts = run(Truncation(), [chat("1", "炉" * 9999)])
    assert verdicts["a/b"].state == "not_run"
    assert "--model" in verdicts["a/b"].advice


def test_what_has_no_lengths(given: Context) -> None:
    document = Record("d", "c/d", (Message("text", "plain " * 999),))
    pair = Record(
        "p",
        "p/p",
        (Message("user", "Hi"),),
        responses=(Response("a", rank=1), Response("b", rank=2)),
    )
    nothing = Record("n", "n/n", (Message("user", "Hi"),))
    lengths = [view.lengths for view in views([document, pair, nothing], given)]
    assert lengths[0] == lengths[2] == []
    assert len(lengths[1] or ()) == 2
    assert run(Truncation(), [document], given)[1]["c/d"].state == "exempt"


def two_types(word: str) -> list[Record]:
    """Half labels of one unit, half answers of 199: with the stop 2 against 200."""
    return [
        *(chat(f"s{k}", "q", word, "a/short") for k in range(50)),
        *(chat(f"l{k}", "q", word * 199, "b/long") for k in range(50)),
    ]


@pytest.mark.parametrize("word", ["yes ", "是"])
def test_short_answers_starve(word: str) -> None:
    """Share 2 / 202; f with 2 f = 200 is 100; for a quarter 2 f / (200 + 2 f) = 1/4: 33.3."""
    _, verdicts = run(LossShare(), two_types(word))
    short, long = verdicts["a/short"], verdicts["b/long"]
    assert (short.state, long.state) == ("attention", "ok")
    assert short.figures["loss_share"] == pytest.approx(2 / 202, abs=1e-4)
    assert short.figures["measured_in"] == "units"
    assert "50 % of the records and 1.0 % of the loss" in short.advice
    assert "100 repeats would give it 50 %, 34 repeats 25 %" in short.advice


def test_the_repeats_that_are_advised_are_right() -> None:
    records = two_types("yes ")
    repeated = [
        Record(f"{one.id}-{k}", one.task_type, one.messages)
        for one in records[:50]
        for k in range(34)
    ]
    figures = run(LossShare(), [*repeated, *records[50:]])[1]["a/short"].figures
    assert figures["loss_share"] == pytest.approx(0.25, abs=0.005)
    own, total, wanted = 3.0, 40.0, 0.3
    f = repeats_needed(own, total, wanted)
    assert f * own / (total - own + f * own) == pytest.approx(wanted)


@pytest.mark.parametrize("weighting", ["record", "turn", "task_type"])
def test_weighting_mends_it(weighting: str) -> None:
    context = Context(sequences=SequencesSection(weighting=weighting))
    _, verdicts = run(LossShare(), two_types("yes "), context)
    assert {one.state for one in verdicts.values()} == {"ok"}


def test_loss_share_in_tokens(given: Context) -> None:
    _, verdicts = run(LossShare(), two_types("是"), given)
    settings = SequencesSection(max_length=100_000)
    prepared = prepare(two_types("是"), given.tokenizer, given.template, settings)
    completion = (prepared.offsets[1:] - prepared.offsets[:-1]) - prepared.prompt_tokens
    expected = completion[:50].sum() / completion.sum()
    assert verdicts["a/short"].figures["loss_share"] == pytest.approx(expected, abs=1e-4)
    assert verdicts["a/short"].figures["measured_in"] == "tokens"


def test_one_task_type_starves_nobody() -> None:
    verdicts = run(LossShare(), two_types("yes ")[:50])[1]
    assert verdicts["a/short"].state == "ok"
    few = [*two_types("yes ")[:9], *english(40)]
    assert run(LossShare(), few)[1]["a/short"].state == "too_few"
