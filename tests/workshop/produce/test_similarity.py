"""``similarity-pairs``: what means the same, nearly the same, and something else."""

import pytest

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.produce.similarity import SimilarityPairs
from tests.workshop.produce.asking import asks, decided, fates, made, speaking, talk
from tests.workshop.produce.endpoint_server import Does

CARD = "How do I block my lost card within 24 hours?"
SAME = "My card is gone: what must be done to have it stopped in 24 hours?"
HARD = "How do I unblock my found card within 24 hours?"
BREAD = "Which flour makes the softest bread?"
CHINESE = "怎样在 24 小时内挂失银行卡？"
CHINESE_SAME = "银行卡丢了，24 小时之内如何办理挂失？"
CHINESE_HARD = "怎样在 24 小时内补办银行卡？"


def says(same=SAME, hard=HARD, verdicts=("Yes", "No")):
    def answer(text, body):
        if "texts mean the same?" in text:
            return verdicts[same not in text]
        if "意思相同吗" in text:
            return "是" if CHINESE_SAME in text else "否"
        if "Which flour" in text:
            return Does(status=400, body='{"error": {"message": "no"}}')
        if "小时" in text:
            return CHINESE_HARD if "看上去相像" in text else CHINESE_SAME
        return hard if "looks like the one below" in text else f"“{same}”"

    return answer


def test_pairs_in_both_languages(tmp_path):
    given = [
        talk("card", CARD, "Call us.", "bank/card", tags=("t",)),
        asks("bread", BREAD, "food/bread"),
        asks("zh", CHINESE, "bank/card"),
        Record("empty", "a/b", (Message("assistant", "Hello"),)),
    ]
    with speaking(says(), tmp_path) as (engine, _):
        work = SimilarityPairs(engine)
        decisions = decided(work, *given)
    assert fates(decisions) == [
        ("dropped", "text used"),
        ("dropped", "text used"),
        ("dropped", "text used"),
        ("kept", ""),
        ("made", "similarity-pairs: paraphrase"),
        ("made", "similarity-pairs: hard"),
        ("made", "similarity-pairs: easy"),
        ("made", "similarity-pairs: easy"),
        ("made", "similarity-pairs: paraphrase"),
        ("made", "similarity-pairs: hard"),
    ]
    rows = [
        (one.messages[0].content, *(one.meta[key] for key in ("text_pair", "label", "score")))
        for one in made(decisions)
    ]
    assert rows == [
        (CARD, SAME, "similar", 1.0),
        (CARD, HARD, "different", 0.2),
        (CARD, BREAD, "different", 0.0),
        (BREAD, CARD, "different", 0.0),
        (CHINESE, CHINESE_SAME, "similar", 1.0),
        (CHINESE, CHINESE_HARD, "different", 0.2),
    ]
    first, _, third, *_ = made(decisions)
    assert first.is_text
    assert (first.task_type, first.tags) == ("bank/card", ("t",))
    assert first.meta["made"]["from"] == "card"
    assert third.meta["made"] | {"kind": "easy", "with": "bread"} == third.meta["made"]
    assert len({one.id for one in made(decisions)}) == 6
    assert work.rejects.counts() == {"no text": 2, "easy: too few texts that are unlike": 1}


def test_a_ranking(tmp_path):
    with speaking(says(), tmp_path) as (engine, _):
        work = SimilarityPairs(
            engine, form="ranked", paraphrases=2, task_type="text/like", keep_texts=True
        )
        decisions = decided(work, asks("card", CARD), asks("bread", BREAD))
    assert fates(decisions)[:2] == [("kept", ""), ("kept", "")]
    [record] = made(decisions)
    assert record.messages == (Message("user", CARD),)
    assert [(r.content, r.rank, r.score) for r in record.responses] == [
        (SAME, 1, 1.0),
        (HARD, 2, 0.2),
        (BREAD, 3, 0.0),
    ]
    assert record.task_type == "text/like"
    # Both draws of the paraphrase were the same.
    assert work.rejects.counts() == {
        "no text": 3,
        "paraphrase: written before": 1,
        "nothing to rank": 1,
    }


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"same": CARD.lower()}, "paraphrase: nothing new"),
        ({"same": SAME.replace("24", "48")}, "paraphrase: other numbers"),
        ({"same": "24?"}, "paraphrase: much longer or shorter"),
        ({"same": "丢了的卡怎样在 24 小时内挂失？"}, "paraphrase: other language"),
        ({"same": "“”"}, "paraphrase: empty or cut off"),
        ({"hard": "When does Mount Etna erupt?"}, "hard: another topic"),
        ({"hard": CARD}, "hard: nothing new"),
        ({"verdicts": ("No", "No")}, "paraphrase: another meaning"),
        ({"verdicts": ("Yes", "Yes")}, "hard: the same meaning"),
    ],
)
def test_elimination(settings, rule, tmp_path):
    with speaking(says(**settings), tmp_path) as (engine, _):
        work = SimilarityPairs(engine, easy=0)
        assert len(made(decided(work, asks("card", CARD)))) == 1
    assert work.rejects.counts() == {rule: 1}


def test_easy_negatives_need_no_model_and_follow_the_seed(tmp_path):
    texts = [asks(str(n), f"{word} {word} {word}") for n, word in enumerate("abcdefgh")]
    with speaking(says(), tmp_path) as (engine, server):

        def drawn(seed):
            work = SimilarityPairs(engine, paraphrases=0, hard=0, easy=3, seed=seed)
            return [one.meta["text_pair"] for one in made(decided(work, *texts))]

        assert drawn(0) == drawn(0) != drawn(1)
        assert len(drawn(0)) == 24
        assert server.bodies == []


def test_settings_out_of_range(tmp_path):
    with speaking(says(), tmp_path) as (engine, _):
        for settings, told in (
            ({"hard": -1}, "at least 0"),
            ({"paraphrases": 0, "hard": 0, "easy": 0}, "nothing is asked for"),
            ({"form": "ranked", "paraphrases": 0}, "a ranking needs"),
            ({"least_alike": 0.95}, "not above the second"),
            ({"task_type": "like"}, "must have two levels"),
        ):
            with pytest.raises(DanluError, match=told):
                SimilarityPairs(engine, **settings)
        with pytest.raises(DanluError, match="there is no text"):
            decided(SimilarityPairs(engine), Record("1", "a/b", (Message("assistant", "Hi"),)))
