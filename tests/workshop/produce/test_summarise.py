"""``summarise``: of the asked length, in other words, and with nothing that the text has not."""

import re

import pytest

from danlu.errors import DanluError
from danlu.workshop.produce.summarise import Summaries
from tests.workshop.produce.asking import asks, decided, fates, made, speaking
from tests.workshop.produce.endpoint_server import Does
from tests.workshop.produce.test_doc2qa import document

ENGLISH = (
    "The old bridge over the river was closed in May because a pillar had sunk by 12 centimetres. "
    "Mayor Ida Lund said that repairs would take two years. Until then a ferry carries 300 people "
    "an hour, free of charge, from six in the morning to midnight."
)
CHINESE = (
    "今年五月，河上的老桥因为一根桥墩下沉了 12 厘米而关闭。林怡市长表示，维修需要两年时间。"
    "在此期间，一艘渡轮每小时免费运送 300 人过河，从早上六点一直开到半夜十二点。"
)
GOOD = "A sunken pillar has shut the bridge; repairs take 2 years, and a free ferry serves 300."
GOOD_CHINESE = "桥墩下沉，老桥停用，修好要两年；渡轮免费载客。"
SHORT = "Bridge closed; take the ferry."


def says(*english):
    """Summaries in turn: the n-th is said when n - 1 were not taken."""

    def answer(text, body):
        if "Is everything that" in text:
            return "No" if "mayor" in text.partition("Summary:")[2] else "Yes"
        if "摘要说的每一点" in text:
            return "是"
        if any("河" in message["content"] for message in body["messages"]):
            return GOOD_CHINESE
        return english[len(body["messages"]) // 2 - 1]

    return answer


def test_summaries_in_both_languages(tmp_path):
    with speaking(says(GOOD), tmp_path) as (engine, server):
        work = Summaries(engine, lengths=(20,))
        decisions = decided(work, document("d", ENGLISH), document("z", CHINESE), asks("1", "Hi"))
        systems = [body["messages"][0]["content"][:3] for body in server.bodies]
    assert fates(decisions) == [
        ("dropped", "document used"),
        ("dropped", "document used"),
        ("kept", ""),
        ("made", "summarise"),
        ("made", "summarise"),
    ]
    bridge, chinese = made(decisions)
    ask, _, text = bridge.messages[0].content.partition("\n\n")
    assert re.search(r"\b20 words\b", ask)
    assert text == ENGLISH
    assert bridge.messages[1].content == GOOD
    how = bridge.meta["made"]
    assert (how["from"], how["length"], how["words"], how["copied"]) == ("d", 20, 17, 0)
    assert bridge.meta["expectations"] == [
        {"kind": "min_words", "value": 15},
        {"kind": "max_words", "value": 25},
    ]
    assert "20 字" in chinese.messages[0].content
    assert chinese.messages[1].content == GOOD_CHINESE
    assert chinese.meta["made"]["words"] == 19
    assert {"You", "你为看"} <= set(systems)


@pytest.mark.parametrize(
    ("wrong", "rule", "told"),
    [
        (SHORT, "another length, or none", "must have at least 15 words. It has 5."),
        (ENGLISH[:92], "copied from the text", "copies 100% of the text"),
        (GOOD.replace("300", "3000"), "a number without source", "does not have: 3000"),
        (GOOD.replace("a free", "Kim's free"), "a name without source", "does not name: Kim's"),
    ],
)
def test_what_is_wrong_is_told_and_asked_again(wrong, rule, told, tmp_path):
    with speaking(says(wrong, GOOD), tmp_path) as (engine, server):
        work = Summaries(engine, lengths=(20,), reasks=1)
        [record] = made(decided(work, document("d", ENGLISH)))
        complaint = server.bodies[1]["messages"][-1]["content"]
    assert record.messages[1].content == GOOD
    assert told in complaint
    assert len(record.messages) == 2
    assert not work.rejects.rows
    with speaking(says(wrong, wrong), tmp_path / "again") as (engine, server):
        work = Summaries(engine, lengths=(20,), reasks=1)
        assert not made(decided(work, document("d", ENGLISH)))
        assert len(server.bodies) == 2
    assert work.rejects.counts() == {rule: 1}
    assert told in str(work.rejects.rows[0].value)


def test_a_wrong_chinese_summary_is_told_in_chinese(tmp_path):
    def answer(text, body):
        if "摘要说的每一点" in text:
            return "是"
        if len(body["messages"]) > 2:
            return GOOD_CHINESE
        return "上海市的桥墩下沉，老桥停用，修好要两年；渡轮免费载客。"

    with speaking(answer, tmp_path) as (engine, server):
        assert made(decided(Summaries(engine, lengths=(20,)), document("z", CHINESE)))
        assert "回答里有原文没有的名称：上海市。" in server.bodies[1]["messages"][-1]["content"]


def test_what_a_model_does_not_find_in_the_text_is_not_taken(tmp_path):
    doubted = GOOD.replace("serves 300", "serves the mayor")
    for verify, count in ((True, 0), (False, 1)):
        with speaking(says(doubted), tmp_path / str(verify)) as (engine, _):
            work = Summaries(engine, lengths=(20,), verify=verify)
            assert len(made(decided(work, document("d", ENGLISH)))) == count
        assert work.rejects.counts() == ({"not borne out": 1} if verify else {})


def test_faults_and_short_texts(tmp_path):
    def answer(text, body):
        if "refuse" in text:
            return Does(status=403, body='{"error": {"message": "withheld"}}')
        return Does('{"summary": "', finish="length")

    long = " ".join(f"word{n}" for n in range(40))
    with speaking(answer, tmp_path) as (engine, _):
        work = Summaries(engine, lengths=(20, 30), reasks=0, keep_documents=True)
        given = [document("1", f"refuse {long}"), document("2", long), document("3", "Too short.")]
        assert fates(decided(work, *given)) == [("kept", "")] * 3
    assert [(row.rule, row.partner) for row in work.rejects.rows] == [
        ("too short to summarise", "3"),
        ("no summary", "1"),
        ("another length, or none", "2"),
    ]
    assert (work.rejects.rows[0].value, work.rejects.rows[0].limit) == (2, 40)


def test_settings_out_of_range(tmp_path):
    with speaking(says(GOOD), tmp_path) as (engine, _):
        for settings, told in (
            ({"lengths": ()}, "at least one length"),
            ({"tolerance": 2.0}, "tolerance is 2.0; it is from 0 to 1"),
            ({"most_copied": -1.0}, "most_copied is -1.0"),
        ):
            with pytest.raises(DanluError, match=told):
                Summaries(engine, **settings)
