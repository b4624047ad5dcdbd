"""Suites made of held-out records, and from what data makers expect."""

from pathlib import Path
from typing import Any

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import make_scorer
from danlu.evaluation.suites import load_suite
from danlu.evaluation.suites.expectations import constraints_of
from danlu.evaluation.suites.making import make_suite, write_suite
from danlu.records import Message, Record
from danlu.workshop.produce.expectation import KINDS, Expectation
from danlu.workshop.taxonomy import Skill, Taxonomy


def talk(id_: str, prompt: str, answer: str | None, task_type: str, **more: Any) -> Record:
    messages = [Message("system", "Be brief."), Message("user", prompt)]
    if answer is not None:
        messages.append(Message("assistant", answer))
    return Record(id_, task_type, tuple(messages), **more)


LONG = "It is a furnace in which, as the old books have it, the elixir is made; it stays hot."
RECORDS = [
    *(talk(f"s{k}", f"好看{k}？", ("正面", "负面")[k % 2], "zh/sentiment") for k in range(6)),
    *(talk(f"n{k}", f"{k} + {k} =", f"{2 * k:,}", "math/sums") for k in range(600, 603)),
    talk("j", "As JSON.", '{"city": "巴黎"}', "format/json"),
    *(talk(f"c{k}", f"Capital {k}?", f"City {k}", "know/capital") for k in range(3)),
    talk("l", "What is it?", LONG, "open/long", meta={"made": {"by": "doc2qa", "from": "doc-1"}}),
    Record("t", "plain/wiki", (Message("text", "水星是行星。"),)),
    talk(
        "e",
        "Write it.",
        "Tea is good.",
        "follow/constraints",
        meta={
            "expectations": [
                {"kind": "max_words", "value": 5},
                {"kind": "contains", "value": "tea"},
            ]
        },
    ),
]


def test_scorers_are_proposed_from_answers_and_written_where_they_can_be_changed(
    tmp_path: Path,
) -> None:
    made = make_suite(RECORDS, name="held-out")
    scorers = {name: of.scorer for name, of in made.suite.task_types.items()}
    assert scorers == {
        "follow/constraints": "constraints",
        "format/json": "json_equal",
        "know/capital": "exact",
        "math/sums": "numeric",
        "open/long": "rouge",
        "plain/wiki": "perplexity",
        "zh/sentiment": "classification",
    }
    path = write_suite(made.suite, tmp_path / "suite")
    again = load_suite(path)
    assert again.fingerprint == made.suite.fingerprint
    by_id = {item.id: item for item in again.items}
    assert [one["role"] for one in by_id["s0"].messages] == ["system", "user"]
    assert by_id["l"].cluster == "doc-1"
    assert by_id["e"].reference == {"words": {"max": 5}, "keywords": ["tea"]}
    with pytest.raises(EvaluationError, match="there is a suite already"):
        write_suite(made.suite, tmp_path / "suite")


def test_closed_labels_of_the_taxonomy_are_all_there_even_if_none_has_one() -> None:
    skill = Skill("zh/sentiment", closed_labels=("正面", "负面", "中性"))
    made = make_suite(RECORDS[:2], name="x", taxonomy=Taxonomy({"zh/sentiment": skill}))
    stakes = made.suite.task_types["zh/sentiment"]
    assert stakes.settings["classification"]["labels"] == ["正面", "负面", "中性"]


def test_what_cannot_be_asked_is_counted_by_reason() -> None:
    records = [
        *RECORDS[:1],
        talk("u", "Open?", None, "zh/sentiment"),
        talk("v", "Call.", "x", "zh/sentiment", tools=({"type": "function"},)),
    ]
    made = make_suite(records, name="x")
    assert made.left_out == {
        "has no answer to compare with": 1,
        "declares tools, which a suite cannot hand over yet": 1,
    }
    with pytest.raises(EvaluationError, match="no record can be asked: 1 has no answer"):
        make_suite(records[1:2], name="x")


def test_stop_tokens_that_are_written_out_are_taken_off_and_counted() -> None:
    ends = ("<|endoftext|>", "</s>", "<|im_end|>\n", "")
    made = make_suite(
        [talk(f"e{k}", f"好看{k}？", f"正面{end}", "a/b") for k, end in enumerate(ends)], name="x"
    )
    assert {item.reference for item in made.suite.items} == {"正面"}
    assert made.cut == 3


def test_a_limit_draws_the_same_items_each_time() -> None:
    one, two = (make_suite(RECORDS, name="x", limit=2, seed=3) for _ in range(2))
    assert one.suite.fingerprint == two.suite.fingerprint
    assert sum(item.task_type == "zh/sentiment" for item in one.suite.items) == 2


ANSWERS = {
    "min_characters": (3, "今天天气", "天"),
    "max_characters": (3, "天", "今天天气"),
    "min_words": (2, "two words", "one"),
    "max_words": (2, "two words", "these are three"),
    "sentences": (2, "One. Two.", "One."),
    "paragraphs": (2, "One.\n\nTwo.", "One."),
    "items": (2, "- a\n- b", "- a"),
    "json": (True, '{"a": 1}', "none"),
    "json_keys": (("a",), '{"a": 1}', '{"b": 1}'),
    "one_of": (("yes", "no"), "Yes", "maybe"),
    "contains": ("茶", "喝茶", "喝水"),
    "excludes": ("茶", "喝水", "喝茶"),
    "ends_with": ("!", "Go!", "Go."),
    "matches": ("[0-9]{3}", "no 123", "no 12"),
    "language": ("zh", "今天天气很好", "It is fine today"),
    "starts_with": ("Dear", "Dear Li,", "Hello"),
    "mentions": (("42",), "It is 42.", "It is 421."),
    "mentions_none": (("42",), "It is 421.", "It is 42."),
    "declines": (True, "I don't know.", "It is in Paris."),
    "names_conflict": (True, "The two sources contradict each other.", "It is 3."),
    "admits_failure": (True, "The tool failed, so I cannot tell.", "It is sunny."),
    "calls": (
        (),
        "It is sunny.",
        '<tool_call>{"name": "weather", "arguments": {}}</tool_call>',
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_expectation_of_the_makers_is_a_constraint_that_agrees(kind: str) -> None:
    value, good, bad = ANSWERS[kind]
    expectation = Expectation(kind, value)
    reference = constraints_of([expectation.as_dict()])
    scorer = make_scorer("constraints")
    for answer in (good, bad):
        kept = expectation.problem(answer) is None
        assert kept == (answer == good)
        assert scorer.score(answer, reference).value == float(kept)


def test_expectations_join_and_contradictions_are_told() -> None:
    both = [Expectation("min_words", 2), Expectation("max_words", 4), Expectation("contains", "a")]
    assert constraints_of(one.as_dict() for one in both) == {
        "words": {"min": 2, "max": 4},
        "keywords": ["a"],
    }
    with pytest.raises(EvaluationError, match="sentences: is expected to be 2 and 3"):
        constraints_of([{"kind": "sentences", "value": n} for n in (2, 3)])
    with pytest.raises(EvaluationError, match=r"no such expectation\. Did you mean 'min_words'"):
        constraints_of([{"kind": "min_word", "value": 2}])
