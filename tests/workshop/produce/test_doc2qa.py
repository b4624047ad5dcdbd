"""``doc2qa``: no answer without its sentence."""

import pytest

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.produce.doc2qa import DocumentQuestions
from danlu.workshop.produce.documents import chunks_of
from tests.workshop.produce.asking import asks, decided, fates, made, speaking

ENGLISH = "Mercury has no moon. It turns once in 59 days. Venus is the hottest planet."
CHINESE = "丹炉高三尺，以青铜铸成。炉中火候由文火到武火，共分九转。"
SAYS = """Question: How often does Mercury turn?
Answer: Once in 59 days.
Evidence: "It turns once in 59 days."

Question: Which planet is the hottest?
Answer: Venus
Evidence: Venus is the warmest planet.

Question: How long is a day there?
Answer: 58 days
Evidence: It turns once in 59 days.

Question: Does Mercury have a moon?
Answer: No, and neither has Venus, though once people thought so
Evidence: Mercury has no moon.

Question: Which planet is hottest of all?
Answer: Venus
Evidence: Venus is the hottest planet.
"""
CHINESE_SAYS = "问题：丹炉用什么铸成？\n答案：青铜\n依据：丹炉高三尺，以青铜铸成。"


def document(id_, text):
    return Record(id_, "astro/page", (Message("text", text),))


def says(text, body):
    if "prove" in text:
        return "No" if "Venus" in text else "Yes."
    if "证明这个答案" in text:
        return "是"
    return CHINESE_SAYS if "丹炉" in text else SAYS


def test_only_proved_answers_are_taken(tmp_path):
    with speaking(says, tmp_path) as (engine, _):
        work = DocumentQuestions(engine)
        decisions = decided(work, document("d", ENGLISH), document("z", CHINESE), asks("1", "Hi"))
    assert fates(decisions) == [
        ("dropped", "document used"),
        ("dropped", "document used"),
        ("kept", ""),
        ("made", "doc2qa"),
        ("made", "doc2qa"),
    ]
    turns, bronze = made(decisions)
    assert turns.messages[0].content == f"{ENGLISH}\n\nHow often does Mercury turn?"
    assert turns.messages[1].content == "Once in 59 days."
    assert turns.meta["made"]["evidence"] == "It turns once in 59 days."
    assert decisions[3].entry.partner == "d"
    assert bronze.messages[1].content == "青铜"
    assert work.rejects.counts() == {
        "the proof is not in the document": 1,
        "a number without proof": 1,
        "the answer says more than its proof": 1,
        "not proved": 1,
    }


def test_without_the_document_and_without_asking(tmp_path):
    with speaking(says, tmp_path) as (engine, server):
        work = DocumentQuestions(engine, verify=False, with_document=False, keep_documents=True)
        decisions = decided(work, document("d", ENGLISH))
        assert len(server.bodies) == 1
    assert fates(decisions)[0] == ("kept", "")
    assert [record.messages[0].content for record in made(decisions)] == [
        "How often does Mercury turn?",
        "Which planet is hottest of all?",
    ]


def test_long_documents_are_shown_in_pieces_that_lose_nothing(tmp_path):
    text = "One is one. Two is two.\n\nThree, three. " * 20 + "二加二等于四。" * 30
    pieces = chunks_of(text, 100)
    assert max(map(len, pieces)) <= 100
    assert "".join("".join(pieces).split()) == "".join(text.split())
    with speaking(says, tmp_path) as (engine, server):
        work = DocumentQuestions(engine, chunk_characters=100)
        decided(work, document("d", text))
        # Equal pieces are asked once.
        assert len(server.bodies) == len(set(pieces))


def test_no_document_is_told(tmp_path):
    with speaking(says, tmp_path) as (engine, _), pytest.raises(DanluError, match="no document"):
        decided(DocumentQuestions(engine), asks("1", "Hi"))
