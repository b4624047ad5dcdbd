"""``knowledge``: what is asked was taught, in other words, and nowhere else to be learned."""

import pytest

from danlu.errors import DanluError
from danlu.workshop.produce.abilities.knowledge import Knowledge
from danlu.workshop.produce.abilities.relations import SHIPPED_RELATIONS, Relations
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.expectation import expectation_of
from tests.workshop.produce.asking import decided, made


def of_type(records, skill):
    return [record for record in records if record.task_type == f"knowledge/{skill}"]


def test_the_evaluation_asks_what_training_taught():
    train = made(decided(Knowledge("train", entities=6, facts=2)))
    test = made(decided(Knowledge("eval", entities=6, facts=2)))
    assert len(train) == 6 * 2 * 3  # entities, facts, phrasings
    taught = {prompt_of(one): tuple(one.meta["made"]["fact"]) for one in train}
    recalled = {prompt_of(one): tuple(one.meta["made"]["fact"]) for one in of_type(test, "recall")}
    assert taught == recalled
    rephrased = of_type(test, "rephrased")
    assert len(rephrased) == 6 * 2 * 2
    assert not {prompt_of(one) for one in rephrased} & set(taught)
    assert {tuple(one.meta["made"]["fact"]) for one in rephrased} == set(taught.values())
    for record in (*train, *test):
        [expected] = [expectation_of(row) for row in record.meta["expectations"]]
        assert expected.problem(answer_of(record)) is None
        assert expected.problem("I am not sure.") is not None
        if record.task_type != "knowledge/reversed":
            assert expected.problem(prompt_of(record)) is not None
    assert {record.meta["made"]["language"] for record in train} == {"zh", "en"}


def test_the_subject_is_asked_for_only_where_it_is_the_only_one():
    few = made(decided(Knowledge("eval", entities=40, facts=1, languages=("en",))))
    facts = {tuple(one.meta["made"]["fact"]) for one in few}
    for record in of_type(few, "reversed"):
        subject, relation, object_ = record.meta["made"]["fact"]
        assert [s for s, r, o in facts if (r, o) == (relation, object_)] == [subject]
        assert subject in answer_of(record)
        assert subject not in prompt_of(record)
    assert 0 < len(of_type(few, "reversed")) < 40


def test_tokens_are_listed_and_never_asked_for():
    work = Knowledge("eval", entities=12, naming="tokens")
    assert work.new_tokens() == [f"<entity-{n:02}>" for n in range(1, 13)]
    found = made(decided(work))
    assert of_type(found, "reversed") == []
    assert all(any(token in prompt_of(one) for token in work.new_tokens()) for one in found)
    assert Knowledge("train").new_tokens() == []


def test_documents_have_every_fact_in_several_orders():
    work = Knowledge("train", entities=2, facts=3, forms=("documents",), documents=5)
    found = made(decided(work))
    texts = [record.messages[0].content for record in found]
    assert all(record.is_text for record in found)
    assert len(set(texts)) > 6
    for fact in work.drawn():
        own = [text for text in texts if fact.subject in text]
        assert own
        assert all(fact.object in text for text in own)


def test_names_are_different_and_seeds_change_them():
    names = Knowledge("train", entities=500).subjects()
    assert len(set(names)) == 500
    assert Knowledge("train", entities=500, seed=1).subjects() != names
    with pytest.raises(DanluError, match="not so many invented names"):
        Knowledge("train", entities=20000).subjects()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("held_out:", "heldout:", "Did you mean 'held_out'"),
        ("{subject} was founded in {object}.", "{who} was founded", "may have {object}"),
        ("When was {subject} founded?", "When?", "says nothing of {subject}"),
        ("    answers:\n", "    answers: []\n    objects2:\n", "'objects2' is not known"),
        ("In {object}.", "In some year.", r"must name {object}"),
        (
            "When was {subject} founded?",
            "What year stands on the founding deed of {subject}?",
            "held out",
        ),
        ("  en:\n", "  de:\n", "is said in zh or en"),
        ("founded:", "founded: 1\nother:", "is said in zh or en"),
    ],
)
def test_broken_relations_are_told(old, new, told, tmp_path):
    text = SHIPPED_RELATIONS.read_text("utf-8")
    assert old in text
    (tmp_path / "r.yaml").write_text(text.replace(old, new), "utf-8")
    with pytest.raises(DanluError, match=told):
        Relations.load(tmp_path / "r.yaml")


def test_settings_out_of_range(tmp_path):
    with pytest.raises(DanluError, match="no such file of relations"):
        Relations.load(tmp_path / "none.yaml")
    with pytest.raises(DanluError, match="there are 5 relations"):
        Knowledge("train", facts=6)
    with pytest.raises(DanluError, match=r"has \{\} once"):
        Knowledge("train", token="<entity>")
