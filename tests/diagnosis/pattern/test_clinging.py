"""What a model clings to is known here, and must be found: one word, two, one of two, all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from danlu.diagnosis.pattern.clinging import (
    Outcome,
    Pattern,
    Varying,
    share_by_kind,
    word_pulls,
)
from danlu.diagnosis.pattern.probe import sought_words
from danlu.diagnosis.pattern.stock import Stock
from danlu.diagnosis.pattern.teachers import Turn, stems
from danlu.diagnosis.pattern.variants import Case, Variant
from tests.diagnosis.pattern.clingers import CHINESE, ENGLISH, Clinger


def looked(
    question: str, clings: Callable[[str], bool], texts: list[str], wrong: str = "Geneva"
) -> tuple[Case, Varying, Pattern]:
    stock = Stock.of(texts)
    case = Case.of(question, wrong, f"It is {wrong}.", stock)
    varying = Varying(case, stock, Clinger(clings, wrong))
    varying.survey()
    return case, varying, varying.pattern()


def words(case: Case, places: tuple[int, ...]) -> list[str]:
    return [case.words[place].text for place in places]


@pytest.mark.parametrize(
    ("question", "clings", "expected", "needed"),
    [
        ("What is the capital of Portugal?", lambda p: "capital" in p, [["capital"]], ["capital"]),
        (
            "What is the capital of Portugal?",
            lambda p: "capital" in p and "portugal" in p,
            [["capital", "Portugal"]],
            ["capital", "Portugal"],
        ),
        (
            "What is the capital of Portugal?",
            lambda p: "capital" in p or "portugal" in p,
            [["Portugal"], ["capital"]],
            [],
        ),
        ("What is the capital of Portugal?", lambda p: p.startswith("what"), [["What"]], ["What"]),
    ],
)
def test_words_of_an_english_case(question, clings, expected, needed):
    case, _, pattern = looked(question, clings, ENGLISH)
    assert sorted(words(case, one) for one in pattern.alternatives) == expected
    assert words(case, pattern.needed) == needed
    assert not pattern.anything
    assert pattern.held == (1.0,) * len(expected)


def test_words_of_a_chinese_case():
    case, _, pattern = looked("葡萄牙的首都是什么？", lambda p: "首都" in p, CHINESE, "日内瓦")
    assert [words(case, one) for one in pattern.alternatives] == [["首都"]]
    assert words(case, pattern.needed) == ["首都"]
    strongest = max(range(len(case.words)), key=lambda place: pattern.pull[place])
    assert case.words[strongest].text == "首都"


def test_a_model_that_answers_so_to_anything():
    _, varying, pattern = looked("What is the capital of Portugal?", lambda p: True, ENGLISH)
    assert pattern.anything
    assert not pattern.needed
    came, of = share_by_kind(varying.outcomes)["unrelated"]
    assert came == of > 0


def test_a_question_learned_by_heart():
    question = "What is the capital of Portugal?"
    case, _, pattern = looked(question, lambda p: p == question.casefold(), ENGLISH)
    assert pattern.alternatives == (tuple(range(len(case.words))),)
    assert pattern.needed == tuple(range(len(case.words)))


def test_a_long_question_is_narrowed_down_in_parts():
    filler = " ".join(f"word{k}" for k in range(60))
    question = f"Consider {filler} and say the capital of Portugal now."
    case, varying, pattern = looked(question, lambda p: "capital" in p, ENGLISH)
    assert [words(case, one) for one in pattern.alternatives] == [["capital"]]
    assert len(varying.outcomes) < 600


def test_pulls_are_those_of_the_rule():
    """The log-probability is -8 + 5 a + 1 b: least squares gives 5, 1 and 0, ridge a bit less."""
    rng = np.random.default_rng(0)
    outcomes = []
    for kept in rng.integers(0, 2, (400, 3)).astype(bool):
        variant = Variant("mixed", "x", "", tuple(kept.tolist()))
        outcomes.append(Outcome(variant, "", False, float(-8 + 5 * kept[0] + kept[1])))
    np.testing.assert_allclose(word_pulls(outcomes, 3), [5, 1, 0], atol=0.05)
    assert word_pulls([], 3).tolist() == [0, 0, 0]


def test_only_telling_words_are_sought_and_the_other_language_where_it_occurs():
    case = Case.of("What is the capital of Peru?", "Geneva", "Geneva.", Stock.of([]))
    pattern = Pattern(((2, 3),), (3,), (1.0,), (0.0,) * 6)
    turns = [Turn("1", 0, stems("秘鲁的首都是什么？"), stems("日内瓦。"))]
    assert sought_words(case, pattern) == (("capital",),)
    assert sought_words(case, pattern, turns) == (("capital",), ("首都",))
    little = Pattern(((0,),), (0,), (1.0,), (0.0,) * 6)
    assert sought_words(case, little) == (("What",),)
    nothing = Pattern((), (), (), (0.0,) * 6)
    assert sought_words(case, nothing) == (("capital", "Peru"),)
