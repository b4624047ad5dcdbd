"""``topics``: the new topic owes nothing to the old one, and what was told is asked for again."""

import pytest

from danlu.errors import DanluError
from danlu.workshop.checks.history import depends_on_history
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.abilities.topics import Topics
from danlu.workshop.produce.common import answer_of
from danlu.workshop.produce.expectation import expectation_of
from danlu.workshop.produce.self_instruct import seed_tasks
from tests.workshop.produce.asking import decided, fates, made, talk

SOUP = talk("1", "How long does onion soup simmer?", "Let the onions simmer slowly.", "cook/soup")
MOON = talk("2", "Which planet has the most moons?", "Saturn", "space/moons")


def test_the_last_question_is_about_something_new():
    decisions = decided(Topics(kinds=("switch",), most_before=1), SOUP, MOON)
    assert fates(decisions) == [("kept", "")] * 2 + [("made", "topics: switch")] * 2
    by_id = {one.meta["made"]["from"]: one for one in made(decisions)}
    record = by_id["2"]
    assert record.task_type == "dialogue/topic_switch"
    assert [message.role for message in record.messages] == ["user", "assistant"] * 2
    assert record.messages[:2] == SOUP.messages
    assert "Which planet has the most moons?" in record.messages[2].content
    mentions, none = [expectation_of(row) for row in record.meta["expectations"]]
    assert mentions.value == "saturn"
    assert set(none.value) <= {"onion", "soup", "onions", "simmer", "long", "slowly"}
    assert none.problem("Saturn, as with the onion soup that you simmer slowly") is not None
    assert none.problem(answer_of(record)) is None


def test_what_was_told_before_is_asked_for_again():
    for record in made(decided(Topics(kinds=("return",), each=5), SOUP, MOON)):
        [expected] = [expectation_of(row) for row in record.meta["expectations"]]
        told, asked = record.messages[0].content, record.messages[-2].content
        assert record.task_type == "dialogue/topic_return"
        assert expected.value in told
        assert expected.value not in asked
        assert expected.problem(answer_of(record)) is None
        assert all(expected.value not in m.content for m in record.messages[2:-1])
        assert len(record.messages) >= 6


def test_seeds_of_both_languages_meet_what_is_expected():
    work = Topics(each=2)
    given = seed_tasks()
    found = made(decided(work, *given))
    assert len(found) > 2 * len(given)
    assert made(decided(work, *given)) == found
    for record in found:
        for row in record.meta["expectations"]:
            assert expectation_of(row).problem(answer_of(record)) is None
        roles = [message.role for message in record.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_what_leans_on_history_does_not_follow_a_topic():
    leaning = talk("3", "And how old is she?", "Forty.")
    work = Topics()
    assert depends_on_history(fold("And how old is she?"), frozenset())
    assert fates(decided(work, leaning)) == [("kept", "")]
    assert work.rejects.counts() == {"leans on what was said before": 1}
    alone = Topics(kinds=("switch",))
    assert made(decided(alone, MOON)) == []
    assert alone.rejects.counts() == {"no other topic": 1}


def test_mistakes_are_told():
    with pytest.raises(DanluError, match="Did you mean 'switch'"):
        Topics(kinds=("swich",))
    with pytest.raises(DanluError, match="at least 1"):
        Topics(most_before=0)
