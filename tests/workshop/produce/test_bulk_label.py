"""``bulk-label``: nothing is answered by a small model that has not shown that it may."""

from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from danlu.errors import DanluError
from danlu.evaluation.statistics import wilson
from danlu.records import Message, Record
from danlu.workshop.produce.bulk_label import BulkLabel, ByAsking
from danlu.workshop.produce.common import prompt_of
from danlu.workshop.produce.request import Reply, Unanswered
from danlu.workshop.taxonomy import Skill, Taxonomy
from tests.workshop.produce.asking import asks, decided, fates, speaking, talk


@dataclass
class Scripted:
    """A student that answers as a function of the prompt says, whatever it learns."""

    says: object
    learned: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def settings(self):
        return {"model": "small"}

    def learn(self, records):
        self.learned += records
        return self

    def answer(self, records):
        self.asked += records
        return [self.says(one) for one in records]


def even(number):
    return "even" if number % 2 == 0 else "odd"


def right(record):
    text = prompt_of(record) or record.messages[0].content
    return Reply(even(int(text.split()[-1].strip("？?"))))


def question(number):
    """No two are nearly alike, which would keep them on one side."""
    return f"{sha256(str(number).encode()).hexdigest()}: is this even? {number}"


def questions(start, stop, task_type="maths/parity"):
    return [asks(f"{task_type}{n}", question(n), task_type) for n in range(start, stop)]


def answered(start, stop, task_type="maths/parity"):
    return [
        talk(f"{task_type}{n}", question(n), f"{even(n).title()}.", task_type)
        for n in range(start, stop)
    ]


def maker(says=right, **settings):
    return BulkLabel(Scripted(says), wilson, **{"held_out": 0.5, "agreement": 0.85, **settings})


def test_what_is_sure_to_agree_is_answered(tmp_path):
    work = maker()
    decisions = decided(work, *answered(0, 60), *questions(60, 63))
    student = work.student
    held = student.asked[:30]
    assert len(student.learned) == 30
    assert {one.id for one in held} | {one.id for one in student.learned} == {
        one.id for one in answered(0, 60)
    }
    # 30 of 30: Wilson's interval begins at 30 / (30 + 1.96 ** 2).
    assert work.tried["maths/parity"][:2] == (30, 30)
    assert work.tried["maths/parity"].low == pytest.approx(30 / (30 + 1.959964**2), abs=1e-6)
    assert fates(decisions) == [("kept", "")] * 60 + [("edited", "bulk-label")] * 3
    last = decisions[-1]
    assert [one.content for one in last.record.messages] == [question(62), "even"]
    assert last.record.meta["made"] == {
        "by": "bulk-label",
        "model": "small",
        "agreement": {"right": 30, "of": 30, "low": 0.8865},
    }
    assert (last.entry.value, last.entry.limit) == (1.0, 0.85)
    assert last.entry.detail == "30 of 30 agree, 1.00 (95 % interval 0.89 to 1.00)"


def test_one_that_is_not_sure_enough_is_refused_with_what_would_help():
    """27 of 30 are 0.9, above 0.85, but their interval begins at 0.74."""
    wrong = iter([True] * 3 + [False] * 100)

    def mostly(record):
        return Reply("?") if next(wrong) else right(record)

    work = maker(mostly)
    with pytest.raises(DanluError) as told:
        decided(work, *answered(0, 60), *questions(60, 63))
    assert "27 of 30 agree, 0.90 (95 % interval 0.74 to 0.97)" in str(told.value)
    assert "maths/parity (3 to answer)" in str(told.value)
    assert "--set training.epochs" in str(told.value)
    count = int(str(told.value).partition("about ")[2].partition(" would do")[0])
    assert (
        wilson(round(0.9 * count), count).low
        >= 0.85
        > wilson(round(0.9 * 0.8 * count), round(0.8 * count)).low
    )
    # It has answered what was held out, and nothing else.
    assert len(work.student.asked) == 30


def test_a_bad_one_is_refused_and_not_told_to_be_tried_on_more():
    work = maker(lambda record: Reply("even"))
    with pytest.raises(DanluError, match=r"of 30 agree") as told:
        decided(work, *answered(0, 60), *questions(60, 63))
    assert "would do" not in str(told.value)


def test_each_task_type_by_itself():
    def says(record):
        return Reply("?") if record.task_type == "maths/hard" else right(record)

    work = maker(says)
    given = [*answered(0, 60), *answered(100, 160, "maths/hard")]
    rest = [
        *questions(60, 61),
        *questions(160, 161, "maths/hard"),
        *questions(200, 201, "maths/new"),
    ]
    decisions = decided(work, *given, *rest)
    assert fates(decisions)[120:] == [
        ("edited", "bulk-label"),
        ("kept", "agreement too low"),
        ("kept", "task type not tried"),
    ]
    assert [one.record for one in decisions[121:]] == rest[1:]
    refused = decisions[121].entry
    assert (refused.value, refused.limit) == (0.0, 0.85)
    assert refused.detail == "0 of 30 agree, 0.00 (95 % interval 0.00 to 0.11)"


def test_answers_are_checked_and_what_cannot_be_used_is_left():
    taxonomy = Taxonomy({"maths/parity": Skill("maths/parity", "", ("even", "odd"))})

    def says(record):
        number = int(prompt_of(record).split()[-1])
        if number == 61:
            return Reply("perhaps")
        if number == 62:
            return Unanswered("the prompt is too long", refused=True)
        if number == 63:
            return Reply("ev", finished=False)
        return right(record)

    given = [talk(f"{n}", question(n), even(n), "maths/parity") for n in range(60)]
    decisions = decided(maker(says, taxonomy=taxonomy), *given, *questions(60, 64))
    assert [(one.entry.rule, one.entry.detail) for one in decisions[61:]] == [
        ("no usable answer", "The answer must be one of even, odd, and nothing else."),
        ("no usable answer", "the prompt is too long"),
        ("no usable answer", "The answer was cut off: it is too long."),
    ]


def test_texts_have_labels_in_a_column():
    def text(n, **meta):
        return Record(f"t{n}", "maths/parity", (Message("text", f"这是偶数吗 {n}？"),), meta=meta)

    given = [text(n, label=even(n)) for n in range(60)]
    [*_, last] = decided(maker(), *given, text(61, source="web"))
    assert last.record.meta["label"] == "odd"
    assert last.record.meta["source"] == "web"
    assert last.record.messages == text(61).messages


def test_what_has_learned_conversations_answers_no_texts():
    text = Record("t", "maths/parity", (Message("text", question(61)),))
    decisions = decided(maker(), *answered(0, 60), text, *questions(62, 63))
    assert fates(decisions)[60:] == [("kept", ""), ("edited", "bulk-label")]


def test_answers_that_can_be_said_in_many_ways_agree_by_their_words():
    given = [talk(str(n), question(n), f"The number {n} is a fine one", "a/b") for n in range(60)]

    def says(record):
        return Reply(f"{prompt_of(record).split()[-1]} is a fine one")

    with pytest.raises(DanluError, match="0 of 30"):
        decided(maker(says), *given, asks("x", question(99), "a/b"))
    [*_, last] = decided(maker(says, agree="words"), *given, asks("x", question(99), "a/b"))
    assert last.record.messages[-1].content == "99 is a fine one"


def test_prompts_nearly_like_the_held_out_ones_are_not_learned():
    twins = [
        talk(
            f"{n}{twin}",
            f"Is this even, said quite at length: {n * n * 7919}{twin}",
            even(n),
            "a/b",
        )
        for n in range(30)
        for twin in ("", "?")
    ]
    work = maker(lambda record: Reply("even"), agreement=0.0)
    decided(work, *twins, *questions(60, 61, "a/b"))
    learned = {one.id.strip("?") for one in work.student.learned}
    held = {one.id.strip("?") for one in work.student.asked[:30]}
    assert len(learned) == 15
    assert not learned & held


def test_only_the_first_are_used():
    work = maker(first=20, agreement=0.5)
    decided(work, *answered(0, 60), *questions(60, 61))
    assert {one.id for one in work.student.learned} < {one.id for one in answered(0, 20)}


def test_a_model_that_is_asked(tmp_path):
    def says(text, body):
        assert body["temperature"] == 0
        return even(int(text.split()[-1]))

    with speaking(says, tmp_path) as (engine, server):
        student = Scripted(None)
        student.learn = lambda records: ByAsking(engine, 16)
        work = BulkLabel(student, wilson, held_out=0.5)
        [*_, last] = decided(work, *answered(0, 60), *questions(60, 61))
        assert all(len(body["messages"]) == 1 for body in server.bodies)
    assert last.record.messages[-1].content == "even"
    assert last.record.meta["made"]["model"] == "strong"


def test_mistakes_are_told():
    with pytest.raises(DanluError, match=r"9 records are labelled; at least 10 .* make answer"):
        decided(maker(), *answered(0, 9), *questions(60, 61))
    with pytest.raises(DanluError, match="every record is labelled"):
        decided(maker(), *answered(0, 20))
    for settings, told in (
        ({"agreement": 1.2}, "agreement is 1.2; it is from 0 to 1"),
        ({"held_out": 1.0}, "above 0 and below 1"),
        ({"first": 9}, "first is 9; it is at least 10"),
    ):
        with pytest.raises(DanluError, match=told):
            maker(**settings)
