"""``doc2conv``: a conversation ends before the first answer that nothing proves."""

import pytest

from danlu.errors import DanluError
from danlu.workshop.produce.doc2conv import DocumentConversations
from danlu.workshop.produce.documents import pieces_of
from tests.workshop.produce.asking import asks, decided, fates, made, sample_of, speaking
from tests.workshop.produce.endpoint_server import Does
from tests.workshop.produce.test_doc2qa import CHINESE, ENGLISH, document

TALK = """User: How often does Mercury turn?
Assistant: Once in 59 days.
Evidence: "It turns once in 59 days."

User: A moon?
Assistant: Mercury has no moon.
Evidence: Mercury has no moon.

User: And which planet is the hottest?
Assistant: Venus is the hottest planet.
Evidence: Venus is the hottest planet.
"""
CHINESE_TALK = """用户：丹炉用什么铸成？
助手：以青铜铸成。
依据：丹炉高三尺，以青铜铸成。

用户：它的火候呢？
助手：火候由文火到武火。
依据：炉中火候由文火到武火，共分九转。
"""


def says(talk, doubted="nobody", chinese=CHINESE_TALK):
    def answer(text, body):
        if "prove the answer?" in text:
            return "No." if doubted in text.partition("Answer: ")[2] else "Yes"
        if "能证明这个答案" in text:
            return "是的"
        return chinese if "丹炉" in text else talk

    return answer


def test_each_answer_is_held_against_its_sentence_with_what_was_said_before(tmp_path):
    with speaking(says(TALK), tmp_path) as (engine, server):
        work = DocumentConversations(engine)
        decisions = decided(work, document("d", ENGLISH), document("z", CHINESE), asks("1", "Hi"))
        checks = [b["messages"][-1]["content"] for b in server.bodies if len(b["messages"]) == 1]
    assert fates(decisions) == [
        ("dropped", "document used"),
        ("dropped", "document used"),
        ("kept", ""),
        ("made", "doc2conv"),
        ("made", "doc2conv"),
    ]
    planets, furnace = made(decisions)
    assert [message.role for message in planets.messages] == ["user", "assistant"] * 3
    assert planets.messages[0].content == f"{ENGLISH}\n\nHow often does Mercury turn?"
    assert planets.messages[2].content == "A moon?"
    assert planets.meta["made"]["evidence"] == [
        "It turns once in 59 days.",
        "Mercury has no moon.",
        "Venus is the hottest planet.",
    ]
    assert decisions[3].entry.partner == "d"
    assert decisions[3].entry.detail == "3 turns"
    assert furnace.messages[-1].content == "火候由文火到武火。"
    assert len(checks) == 5
    assert sum("User: How often does Mercury turn?\nAssistant: Once" in one for one in checks) == 2
    assert (
        sum("用户：丹炉用什么铸成？\n助手：以青铜铸成。\n\n问题：它" in one for one in checks) == 1
    )
    assert not work.rejects.rows


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("Assistant: Venus is the", "Assistant: At 464 degrees, Venus"), "a number without proof"),
        (("Evidence: Venus is", "Evidence: Venus was"), "the proof is not in the document"),
        (("And which planet is the hottest?", "How often does Mercury TURN?"), "asked before"),
        (("And which planet is the hottest?", "Look at this picture: what is it?"), "image"),
        (("Venus is the hottest planet.\nE", "It rains acid there all year long\nE"), "says more"),
    ],
)
def test_a_conversation_ends_before_what_does_not_hold(change, rule, tmp_path):
    with speaking(says(TALK.replace(*change)), tmp_path) as (engine, _):
        work = DocumentConversations(engine)
        [talk] = made(decided(work, document("d", ENGLISH)))
    assert len(talk.messages) == 4
    [rejected] = work.rejects.counts()
    assert rule in rejected


def test_what_a_model_doubts_ends_the_conversation_or_all_of_it(tmp_path):
    for doubted, turns, rules in (
        ("Venus", 4, {"not proved": 1}),
        ("no moon", 0, {"not proved": 1, "too few turns": 1}),
    ):
        with speaking(says(TALK, doubted), tmp_path / doubted) as (engine, _):
            work = DocumentConversations(engine, with_document=False)
            found = made(decided(work, document("d", ENGLISH)))
        assert sum(len(one.messages) for one in found) == turns
        assert work.rejects.counts() == rules


def test_broken_answers_and_refusals(tmp_path):
    def answer(text, body):
        if "Mercury" in text:
            return Does(status=400, body='{"error": {"message": "withheld"}}')
        return '{"turns": [{"user": "丹'

    with speaking(answer, tmp_path) as (engine, _):
        work = DocumentConversations(engine, keep_documents=True)
        decisions = decided(work, document("d", ENGLISH), document("z", CHINESE))
    assert fates(decisions) == [("kept", ""), ("kept", "")]
    assert [(row.rule, row.text) for row in work.rejects.rows] == [
        ("no conversation", "HTTP 400: withheld"),
        ("no conversation", '{"turns": [{"user": "丹'),
    ]


def test_several_conversations_of_one_piece_and_equal_ones_once(tmp_path):
    [piece] = pieces_of([document("d", ENGLISH)], 10_000)

    def answer(text, body):
        if "prove" in text:
            return "Yes"
        return TALK if sample_of(body, piece.name) else TALK.partition("\n\nUser: And")[0]

    with speaking(answer, tmp_path) as (engine, _):
        found = made(decided(DocumentConversations(engine, each=3), document("d", ENGLISH)))
    assert [len(one.messages) for one in found] == [4, 6]


def test_settings_out_of_range(tmp_path):
    with speaking(says(TALK), tmp_path) as (engine, _):
        with pytest.raises(DanluError, match="least_turns is 5; it is from 1 to turns"):
            DocumentConversations(engine, least_turns=5)
        with pytest.raises(DanluError, match="no document"):
            decided(DocumentConversations(engine), asks("1", "Hi"))
