"""The data that comes with the quickstart: enough, varied, and nothing held out is trained."""

import re
from collections import Counter
from difflib import SequenceMatcher
from functools import partial
from itertools import combinations

import pytest

from danlu.config import load_recipe
from danlu.quickstart.questions import (
    DATA,
    TRAINING_DATA,
    Question,
    count_right,
    held_out,
)
from danlu.records import Record, Source, read_records

NEAR_COPY = 0.75
"""Likeness by letters above which two questions would be the same one, reworded a little."""


def training_records() -> list[Record]:
    return list(read_records([Source(str(TRAINING_DATA), format="danlu")]))


def plain(text: str | None) -> str:
    return " ".join(re.findall(r"[a-z0-9+]+", (text or "").lower()))


def likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def test_there_is_enough_of_every_kind() -> None:
    types = Counter(record.task_type for record in training_records())
    general = sum(n for name, n in types.items() if name.startswith("general/"))
    assert sum(types.values()) >= 80
    assert {"identity/name", "identity/maker", "identity/ability"} < set(types)
    assert 0.3 <= general / sum(types.values()) <= 0.45
    assert {name.split("/")[0] for name in types} == {"identity", "general"}


def test_every_record_is_one_question_and_one_answer() -> None:
    records = training_records()
    assert all([m.role for m in record.messages] == ["user", "assistant"] for record in records)
    assert len({record.id for record in records}) == len(records)
    assert not any(record.meta for record in records)


def test_no_two_answers_and_no_two_questions_are_alike() -> None:
    records = training_records()
    for index in (0, 1):
        texts = [plain(record.messages[index].content) for record in records]
        assert [text for text, n in Counter(texts).items() if n > 1] == []


def test_no_answer_trains_the_old_name() -> None:
    answers = [plain(record.messages[1].content) for record in training_records()]
    assert not [answer for answer in answers if "smol" in answer or "hugging" in answer]


def test_no_held_out_question_is_near_a_trained_one() -> None:
    trained = [plain(record.messages[0].content) for record in training_records()]
    for question in held_out("identity"):
        asked = plain(question.prompt)
        nearest = max(trained, key=partial(likeness, asked))
        assert likeness(asked, nearest) < NEAR_COPY, (asked, nearest)
    assert not {plain(question.prompt) for question in held_out("general")} & set(trained)


def test_no_held_out_fact_is_trained() -> None:
    trained = [record.messages[1].content or "" for record in training_records()]
    for question in held_out("general"):
        assert not [answer for answer in trained if question.is_answered_by(answer)], question


def test_held_out_questions_are_different_and_checkable() -> None:
    identity, general = held_out("identity"), held_out("general")
    assert (len(identity), len(general)) == (20, 20)
    pairs = combinations([plain(question.prompt) for question in identity], 2)
    assert max(likeness(one, other) for one, other in pairs) < NEAR_COPY
    assert {"Danlu"} == {phrase for question in identity for phrase in question.accepted}
    for question in identity + general:
        assert question.is_answered_by(f"It is {question.accepted[0]}.")
        assert not question.is_answered_by("I do not know.")
        assert not any(question.is_answered_by(f"It is {wrong}.") for wrong in question.rejected)


def test_a_question_does_not_contain_its_answer() -> None:
    for question in held_out("identity") + held_out("general"):
        assert not question.is_answered_by(question.prompt), question.prompt


def test_the_recipe_trains_this_data() -> None:
    recipe = load_recipe("quickstart")
    assert [source.path for source in recipe.data.train] == [str(TRAINING_DATA)]
    assert recipe.name == "quickstart"


def test_counting_wants_an_answer_to_every_question() -> None:
    question = Question("2 + 2?", "general/arithmetic", ("4",))
    assert count_right([question, question], ["Four.", "Five."]) == 1
    with pytest.raises(ValueError, match="zip"):
        count_right([question], [])


def test_the_files_end_with_a_line_end() -> None:
    for path in sorted(DATA.glob("*.jsonl")):
        assert path.read_text("utf-8").endswith("}\n"), path
