"""BLEU, chrF, ROUGE, distinct-n and length, worked by hand."""

from __future__ import annotations

import builtins
import math
from collections import Counter
from typing import Any

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.distinct import Distinct
from danlu.evaluation.scorers.length import Length
from danlu.evaluation.scorers.overlap import Bleu, Chrf
from danlu.evaluation.scorers.rouge import Rouge

ANSWER, REFERENCE = "今天天气很好", "今天天气好"


def test_bleu_of_chinese_by_hand() -> None:
    """Of 6 characters 5 are right; 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; no brevity."""
    by_hand = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert Bleu().score(ANSWER, REFERENCE).value == pytest.approx(by_hand)
    # As words between spaces nothing is right.
    assert Bleu(tokenize="13a").score(ANSWER, REFERENCE).value == 0


def test_bleu_of_a_corpus_by_hand() -> None:
    """Two answers: matches and totals are added before they are divided, and lengths too."""
    answers, references = [ANSWER, "我爱北京"], [REFERENCE, "我爱北京天安门"]
    precision = (9 / 10 * 6 / 8 * 4 / 6 * 2 / 4) ** (1 / 4)
    brevity = math.exp(1 - 12 / 10)
    found = Bleu().over_task(answers, references)
    assert found["bleu"] == pytest.approx(precision * brevity)


def test_bleu_takes_several_references_and_english() -> None:
    found = Bleu().over_task(
        ["the cat sat on the mat"] * 2, [["a dog"], ["x", "the cat sat on the mat"]]
    )
    assert 0 < found["bleu"] < 1
    assert Bleu().score("the cat sat on the mat", "the cat sat on the mat").value == pytest.approx(
        1
    )


def test_chrf_by_hand() -> None:
    """Mean over orders 1 to 6 of precision and recall; F with recall weighing beta 2."""
    precisions, recalls = [], []
    for n in range(1, 7):
        grams = [
            Counter(text[k : k + n] for k in range(len(text) - n + 1))
            for text in (ANSWER, REFERENCE)
        ]
        if grams[0] and grams[1]:
            common = (grams[0] & grams[1]).total()
            precisions.append(common / grams[0].total())
            recalls.append(common / grams[1].total())
    p, r = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    by_hand = 5 * p * r / (4 * p + r)
    assert Chrf().score(ANSWER, REFERENCE).value == pytest.approx(by_hand)
    assert Chrf().over_task([ANSWER], [REFERENCE])["chrf"] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("variant", "answer", "reference", "f1"),
    [
        ("1", ANSWER, REFERENCE, 2 * 5 / 11),
        ("2", ANSWER, REFERENCE, 2 * 3 / 9),
        ("L", ANSWER, REFERENCE, 2 * 5 / 11),
        # Out of order: all characters are there, the longest common subsequence has 2.
        ("1", "京北我爱", "我爱北京", 1.0),
        ("L", "京北我爱", "我爱北京", 2 * 2 / 8),
        # Lin 2004, section 3.1: S2 and S3 against S1 share a subsequence of 3 and of 2 of 4.
        ("L", "police kill the gunman", "police killed the gunman", 0.75),
        ("L", "the gunman kill police", "police killed the gunman", 0.5),
        ("2", "the the the", "the the", 2 * 1 / 3),
        ("1", "ＴＨＥ cat", "the CAT", 1.0),
        ("L", "電腦", "电脑", 1.0),
        ("L", "用 Python 写", "用Python写代码", 2 * 3 / 8),
        ("1", "", "好", 0.0),
        ("2", "好", "你好", 0.0),
    ],
)
def test_rouge_by_hand(variant: Any, answer: str, reference: str, f1: float) -> None:
    assert Rouge(variant).score(answer, reference).value == pytest.approx(f1)


def test_rouge_takes_the_best_reference() -> None:
    assert Rouge("1").score("好", ["坏", "好"]).value == 1


def test_distinct() -> None:
    assert Distinct(n=2).score("a b a b", None).value == pytest.approx(2 / 3)
    assert Distinct(n=2).score("天天天天", None).value == pytest.approx(1 / 3)
    assert Distinct(n=2).score("天", None).value is None
    assert Distinct(n=2).over_task(["a b", "a b", "x"], [None] * 3)["distinct_2"] == 0.5


def test_length() -> None:
    assert Length().score("用 Python 写，好", None).value == 4
    assert Length("characters").score(" ab c ", None).value == 4
    assert Length(relative=True).score("一二三", "一二").value == 1.5


def test_without_sacrebleu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EvaluationError, match=r"danlu\[eval\]"):
        Bleu().score("a", "b")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Bleu("ja"), "auto, 13a, zh"),  # type: ignore[arg-type]
        (lambda: Bleu().score("a", []), "reference is empty"),
        (lambda: Bleu().over_task([], []), "no answers"),
        (lambda: Chrf().over_task(["a"], []), "0 references"),
        (lambda: Rouge("3"), "1, 2, L"),  # type: ignore[arg-type]
        (lambda: Rouge("2").score("a b", "a"), "needs 2"),
        (lambda: Rouge("1").score("a b", "!"), "needs 1"),
        (lambda: Distinct(n=0), "at least 1"),
        (lambda: Distinct().over_task(["a"], [None]), "no answer has 2 units"),
        (lambda: Length("lines"), "words, characters"),  # type: ignore[arg-type]
        (lambda: Length(relative=True).score("a", None), "text with length"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        call()
