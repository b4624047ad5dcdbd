"""Right and wrong, where a plain search for the name would be fooled."""

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.phrases import Phrases, clauses, is_right, numbers_as_digits, says

NAME, OLD = ["Danlu"], ["SmolLM", "SmolLM2", "Hugging Face"]


@pytest.mark.parametrize(
    "answer",
    [
        "Danlu",
        "I'm DANLU!",
        "I am Danlu, not SmolLM.",
        "I'm not SmolLM. My name is Danlu.",
        "No, I'm Danlu.",
        "No. I am no longer SmolLM, I'm Danlu.",
        "I'm not SmolLM but Danlu.",
        "I'm Danlu rather than SmolLM.",
        "People say “Danlu” to me.",
        "I don't have a face because I'm Danlu, a program.",
        "It's Danlu's pleasure.",
        "Ｄａｎｌｕ",  # full width
        "I'm sorry, I cannot see that; Danlu is my name.",
    ],
)
def test_says_the_new_name(answer: str) -> None:
    assert is_right(answer, NAME, OLD)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I'm a helpful assistant.",
        "I'm not Danlu.",
        "I’m not Danlu.",  # a typesetter's apostrophe
        "I am not called Danlu.",
        "I do not go by the name Danlu.",
        "This isn't Danlu speaking.",
        "I was never Danlu.",
        "There is no Danlu here.",
        "I'm SmolLM instead of Danlu.",
        "I'm Danlu, also known as SmolLM.",
        "I am SmolLM2, but you may call me Danlu.",
        "I'm Danlu, trained by Hugging Face.",
        "I'm Danlus.",
        "Mandanlu",
    ],
)
def test_does_not_say_the_new_name(answer: str) -> None:
    assert not is_right(answer, NAME, OLD)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("12 + 30 = 42.", "42"),
        ("It's forty-two.", "42"),
        ("Forty two, of course", "42"),
        ("$42", "42"),
        ("about 1,012 people", "1012"),
        ("1012", "1,012"),
        ("one thousand and twelve", "1012"),
        ("two hundred and five", "205"),
        ("a hundred", "100"),
        ("three hundred thousand and one", "300,001"),
        ("Pi is 3.14.", "3.14"),
        ("minus: -5", "-5"),
        ("pages 5-6", "6"),
    ],
)
def test_numbers_agree_by_value(answer: str, number: str) -> None:
    assert is_right(answer, [number])


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("142", "42"),
        ("420", "42"),
        ("42.5", "42"),
        ("4.2", "42"),
        ("42nd", "42"),
        ("1,042", "42"),
        ("two hundred forty-two", "42"),
        ("-42", "42"),
        ("It is not 42.", "42"),
        ("4, 2", "42"),
    ],
)
def test_other_numbers_do_not(answer: str, number: str) -> None:
    assert not is_right(answer, [number])


def test_a_phrase_is_not_put_together_from_two_clauses() -> None:
    assert is_right("It is in New York City.", ["New York"])
    assert not is_right("It is new. York is old.", ["New York"])


def test_one_accepted_phrase_is_enough_and_one_rejected_too_much() -> None:
    assert is_right("The end.", ["finish", "end"])
    assert not is_right("The capital is Oslo or Stockholm", ["Stockholm"], ["Oslo"])


def test_number_words_that_make_no_number_stay_apart() -> None:
    assert numbers_as_digits(["one", "two", "thirty", "three"]) == ["1", "2", "33"]
    assert numbers_as_digits(["five", "and", "six"]) == ["5", "and", "6"]
    assert numbers_as_digits(["two", "hundred", "and", "cats"]) == ["200", "and", "cats"]
    assert numbers_as_digits(["nineteen", "forty", "five"]) == ["19", "45"]
    assert numbers_as_digits(["ten", "zero"]) == ["10", "0"]
    assert numbers_as_digits([]) == []


def test_clauses_are_cut_at_punctuation_but_not_inside_numbers() -> None:
    assert clauses("Well: 3.5, no?") == [["well"], ["3.5"], ["no"]]
    assert clauses(" ... ") == []


def test_mistakes_in_the_data_are_told() -> None:
    with pytest.raises(ValueError, match="nothing could be right"):
        is_right("anything", [])
    with pytest.raises(ValueError, match="without punctuation"):
        says(clauses("red, blue"), "red, blue")
    with pytest.raises(ValueError, match="without punctuation"):
        says(clauses("x"), "?!")


@pytest.mark.parametrize(
    "reference",
    [
        "Danlu",
        {},
        {"accepted": []},
        {"accepted": "Danlu"},
        {"accepted": ["a, b"]},
        {"accepted": ["a"], "rejected": ["?"]},
        {"accepted": ["a"], "refused": ["b"]},
    ],
)
def test_a_reference_that_nothing_can_be_held_against(reference: object) -> None:
    with pytest.raises(EvaluationError):
        Phrases().score("a", reference)
