"""Answer monotony, prompt expression, and what both stand on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.workshop.checks import AnswerMonotony, Context, PromptExpression
from danlu.workshop.checks.labels import Labels
from danlu.workshop.checks.sample import Sample
from danlu.workshop.checks.similarity import clusters, distinct_ngrams, similarities, vendi_score
from danlu.workshop.checks.view import View
from tests.workshop.checks.trying import chat, chinese, english, run

SORRY = "I am sorry, but I cannot help with that."
抱歉 = "抱歉，这个问题我没有办法回答您。"


def test_varied_answers() -> None:
    verdicts = run(AnswerMonotony(), [*english(150), *chinese(150)])[1]
    assert [one.state for one in verdicts.values()] == ["ok", "ok"]


@pytest.mark.parametrize(("records", "sorry"), [(english(100), SORRY), (chinese(100), 抱歉)])
def test_one_answer_again_and_again(records: list, sorry: str) -> None:
    task_type = records[0].task_type
    same = [chat(f"s{k}", f"{k}?", sorry, task_type) for k in range(25)]
    verdict = run(AnswerMonotony(), [*records, *same])[1][task_type]
    assert verdict.state == "fault"
    assert verdict.figures["commonest_answer_share"] == 0.2
    assert f"20 % of the answers are {sorry.lower().replace('，', ',')!r}" in verdict.advice


@pytest.mark.parametrize(
    ("opening", "records"),
    [("Certainly! Here is the thing: ", english(60)), ("当然可以，以下是答案：", chinese(60))],
)
def test_one_opening(opening: str, records: list) -> None:
    same = [
        chat(f"s{k}", one.messages[0].content, opening + one.messages[1].content, one.task_type)
        for k, one in enumerate(records)
    ]
    verdict = run(AnswerMonotony(), [*records, *same])[1][records[0].task_type]
    assert verdict.state == "attention"
    assert "50 % of the answers begin with" in verdict.advice


def test_answers_that_differ_in_a_word() -> None:
    text = "The best way to reach {} is to take the early train and change at the third stop."
    文 = "要去{}的话，最好坐早班火车，到第三站换乘，然后沿着河边一直走就可以看到。"
    names = [f"{a}{b}" for a in "KLMNPR" for b in ("ona", "uto", "ibe", "ase", "ely")]
    for form, more in ((text, english(40)), (文, chinese(40))):
        task_type = more[0].task_type
        near = [chat(f"n{k}", name, form.format(name), task_type) for k, name in enumerate(names)]
        verdict = run(AnswerMonotony(opening_share=1), [*more, *near])[1][task_type]
        assert verdict.state == "attention"
        assert "nearly equal" in verdict.advice


@pytest.mark.parametrize(
    "labels", [["positive", "negative"], ["正面", "负面", "中性"], list("ABCD")]
)
def test_closed_labels_are_exempt(labels: list[str]) -> None:
    given = [chat(str(k), f"Review {k}", labels[k % len(labels)]) for k in range(60)]
    verdict = run(AnswerMonotony(), given)[1]["a/b"]
    assert (verdict.state, verdict.figures["labels"]) == ("exempt", len(labels))
    # A few odd answers do not make it open.
    odd = [chat("odd", "Review", "It is hard to say what this review means to say at all.")]
    assert run(AnswerMonotony(), [*given, *odd])[1]["a/b"].state == "exempt"
    declared = Context(closed_labels={"a/b": labels})
    assert run(AnswerMonotony(), given[:40], declared)[1]["a/b"].state == "exempt"


def test_one_answer_is_no_set_of_labels() -> None:
    given = [chat(str(k), f"{k}?", 抱歉) for k in range(60)]
    assert run(AnswerMonotony(), given)[1]["a/b"].state == "fault"


def test_labels_out_of_balance() -> None:
    given = [chat(str(k), f"{k}?", "no" if k % 20 else "yes") for k in range(100)]
    verdict = run(AnswerMonotony(), given)[1]["a/b"]
    assert verdict.state == "attention"
    assert "95 % of the answers are the label 'no'" in verdict.advice
    assert run(AnswerMonotony(), given[:20])[1]["a/b"].state == "too_few"


def test_labels_that_are_found() -> None:
    labels = Labels({"c/d": ["X"]})
    for k in range(40):
        for one in (
            chat(str(k), "?", ["Yes.", "no", "NO"][k % 3]),
            chat(f"u{k}", "?", f"answer {k}", "u/v"),
        ):
            labels.take(one.task_type, labels.look(View(one)))
    assert labels.closed("a/b") == {"yes", "no"}
    assert labels.closed("u/v") == frozenset()
    assert labels.closed("c/d") == {"x"}
    assert labels.closed("never/seen") == frozenset()


def test_varied_prompts() -> None:
    verdicts = run(PromptExpression(), [*english(150), *chinese(150)])[1]
    assert [one.state for one in verdicts.values()] == ["ok", "ok"]


@pytest.mark.parametrize(
    "form", ["What is the sentiment of this review: {}?", "请判断这条评论的情感：{}"]
)
def test_prompts_that_begin_alike(form: str) -> None:
    bodies = english(60) if form.isascii() else chinese(60)
    given = [chat(one.id, form.format(one.messages[0].content)) for one in bodies]
    verdict = run(PromptExpression(), given)[1]["a/b"]
    assert verdict.state == "attention"
    assert "100 % of the prompts begin with" in verdict.advice
    # Without the description they are as varied as they were.
    assert "begin with" not in run(PromptExpression(), bodies)[1][bodies[0].task_type].advice


@pytest.mark.parametrize(
    "form", ["Add {} and {} up, then say what it is", "请把{}和{}这两个数加起来再告诉我"]
)
def test_prompts_with_one_wording(form: str) -> None:
    given = [chat(str(k), form.format(k, 7 * k % 10)) for k in range(80)]
    verdict = run(PromptExpression(), given)[1]["a/b"]
    assert "prompts are worth" in verdict.advice
    assert verdict.figures["vendi_score"] < 8
    assert "Of the 3-grams of 80 prompts" in verdict.advice


def test_vendi_score_by_hand() -> None:
    """Two kinds, of shares 3/4 and 1/4: exp(-(3/4 ln 3/4 + 1/4 ln 1/4)) = 4 / 27**(1/4)."""
    texts = [["红", "花"]] * 3 + [["green", "leaf"]]
    assert vendi_score(similarities(texts)) == pytest.approx(4 / 27**0.25)
    assert vendi_score(np.eye(7)) == pytest.approx(7)


@given(st.lists(st.lists(st.sampled_from("abcde火水"), max_size=6), min_size=1, max_size=12))
def test_similarities(texts: list[list[str]]) -> None:
    alike = similarities(texts)
    assert np.allclose(alike, alike.T)
    assert np.allclose(np.diag(alike), 1)
    assert 1 - 1e-9 <= vendi_score(alike) <= len(texts) + 1e-9
    same = [(i, j) for i, a in enumerate(texts) for j, b in enumerate(texts) if a == b and a]
    assert all(math.isclose(alike[i, j], 1) for i, j in same)


def test_clusters_and_distinct() -> None:
    chain = np.eye(5)
    chain[0, 1] = chain[1, 0] = chain[1, 2] = chain[2, 1] = 0.9
    chain[3, 4] = chain[4, 3] = 0.85
    assert clusters(chain, 0.8) == [[0, 1, 2], [3, 4]]
    assert clusters(chain, 0.88) == [[0, 1, 2]]
    assert distinct_ngrams([["a", "b", "a", "b"]], 2) == pytest.approx(2 / 3)
    assert distinct_ngrams([["a"], []], 2) is None


@given(st.lists(st.integers(0, 2**64 - 1), unique=True), st.integers(1, 5), st.randoms())
def test_a_sample_does_not_depend_on_order(draws: list[int], size: int, shuffled: object) -> None:
    sample: Sample[int] = Sample(size)
    order = list(draws)
    shuffled.shuffle(order)  # type: ignore[attr-defined]
    for draw in order:
        if sample.wants(draw):
            sample.add(draw, draw)
    assert sample.items() == sorted(draws)[:size]
