"""``rag``: each case has the passages that it says, and an answer by its policy."""

from collections import Counter

import pytest

from danlu.errors import DanluError
from danlu.workshop.produce.abilities.passages import questions_of, shipped_questions
from danlu.workshop.produce.abilities.rag import CASES, POLICIES, Rag
from danlu.workshop.produce.common import Rejects, answer_of, prompt_of
from danlu.workshop.produce.expectation import expectation_of
from tests.workshop.produce.asking import asks, decided, fates, made, speaking, talk
from tests.workshop.produce.test_doc2qa import ENGLISH, document


def case_of(record):
    return record.meta["made"]["case"]


def problems(record, answer):
    return [expectation_of(row).problem(answer) for row in record.meta["expectations"]]


@pytest.fixture(scope="module")
def found():
    return made(decided(Rag(), *shipped_questions()))


def test_every_question_in_every_case(found):
    given = shipped_questions()
    assert Counter(case_of(one) for one in found) == dict.fromkeys(CASES, len(given))
    assert {one.task_type for one in found} == {
        "rag/answered",
        "rag/nothing",
        "rag/contradicting",
        "rag/irrelevant",
        "rag/wrong_retrieval",
    }
    assert {one.meta["made"]["language"] for one in found} == {"zh", "en"}
    assert made(decided(Rag(), *given)) == found
    assert [one.messages[0].role for one in found] == ["system"] * len(found)


def test_passages_and_answers_are_of_their_case(found):
    by_id = {one.id: one for one in shipped_questions()}
    for record in found:
        source = by_id[record.meta["made"]["from"]]
        right, wrong, passage = answer_of(source), source.meta["wrong"], source.meta["passage"]
        prompt, answer, case = prompt_of(record), answer_of(record), case_of(record)
        assert prompt_of(source) in prompt
        assert (passage in prompt) == (case in ("answered", "contradicting"))
        assert (wrong in prompt) == (case in ("wrong", "contradicting")) or len(wrong) == 1
        assert ("[1]" in prompt) == (case != "nothing")
        assert problems(record, answer) == [None] * len(record.meta["expectations"])
        # What would be right in another case is wrong in this one.
        says = {
            "answered": right,
            "wrong": wrong,
            "nothing": "I do not know. 不知道。",
            "irrelevant": "I do not know. 不知道。",
            "contradicting": f"They contradict one another: {right}, {wrong}.",
        }
        for other, said in says.items():
            alike = {case, other} == {"nothing", "irrelevant"} or case == other
            assert (not any(problems(record, said))) == alike, (case, other)


def test_policies():
    given = shipped_questions()
    policies = {"nothing": "own_knowledge", "irrelevant": "own_knowledge"}
    work = Rag(cases=("nothing", "irrelevant"), policies=policies)
    for record in made(decided(work, *given)):
        assert problems(record, answer_of(record)) == [None]
        assert problems(record, "I do not know") != [None]
        system = record.messages[0].content
        assert ("own knowledge" in system) or ("自己的知识" in system)
    work = Rag(cases=("contradicting",), policies={"contradicting": "decline"})
    for record in made(decided(work, *given)):
        assert problems(record, answer_of(record)) == [None, None]
    assert all(POLICIES[case] for case in CASES)


def test_numbers_are_altered_by_code_and_other_values_by_a_model(tmp_path):
    row = {"passage": "The tower has 312 steps. It was built by Li."}
    given = [
        talk("1", "How many steps has the tower?", "It has 312 steps", meta=row),
        talk("2", "Who built the tower?", "Li", meta=row),
        talk("3", "Is it tall?", "Yes, very", meta=row),
        talk("4", "Is it of 312 steps?", "312", meta=row),
        asks("5", "And now?"),
    ]
    work = Rag(cases=("wrong",))
    [record] = made(decided(work, *given))
    [expected, none] = [expectation_of(row) for row in record.meta["expectations"]]
    assert none.value == "312"
    assert len(expected.value) == 3
    assert expected.value in answer_of(record)
    assert "312" not in prompt_of(record)
    assert work.rejects.counts() == {
        "the answer is no value of the passage": 1,
        "the question names its answer": 1,
        "no passage": 1,
        "no wrong value: give one, or a model": 1,
    }
    with speaking(lambda text, body: "Wang", tmp_path) as (engine, _):
        work = Rag(cases=("wrong",), asking=engine, reword=False)
        found = made(decided(work, *given))
    assert [prompt_of(one).count("built by Wang") for one in found] == [0, 1]
    assert [record.meta["made"]["from"] for record in found] == ["1", "2"]


def test_documents_become_questions_and_answers_are_reworded(tmp_path):
    def says(text, body):
        if text.startswith("Text:"):
            return (
                "Question: How long is its year?\nAnswer: 88 days\nEvidence: Its year is 88 days."
            )
        if text.startswith("Sentence:"):
            return "Yes"
        if "Right answer" in text:
            return "88 days"  # No wrong value: it is the right one.
        return "Well, " + text.rpartition("\n\n")[2]

    text = "Mercury is small. Its year is 88 days. It has no moon."
    with speaking(says, tmp_path) as (engine, _):
        work = Rag(asking=engine)
        decisions = decided(work, document("d", text))
    assert fates(decisions)[0] == ("dropped", "question used")
    assert [one.entry.partner for one in decisions[1:]] == ["d", "d"]
    assert [case_of(one) for one in made(decisions)] == ["answered", "nothing"]
    assert answer_of(made(decisions)[0]).startswith("Well, ")
    assert work.rejects.counts() == {
        "no wrong value": 1,
        "irrelevant: no passage about something else": 1,
    }


def test_the_shipped_questions_are_whole():
    rejects = Rejects()
    found = questions_of(shipped_questions(), rejects)
    assert rejects.rows == []
    assert all(one.wrong for one in found)
    assert Counter(one.language for one in found) == {"en": 14, "zh": 14}
    for one in found:
        assert one.value in one.proof
        assert one.altered().altered().passage == one.passage


def test_mistakes_are_told(tmp_path):
    with pytest.raises(DanluError, match="Did you mean 'nothing'"):
        Rag(cases=("nothin",))
    with pytest.raises(DanluError, match="it is decline or own_knowledge"):
        Rag(policies={"nothing": "guess"})
    with pytest.raises(DanluError, match="one rule"):
        Rag(policies={"nothing": "own_knowledge"})
    with pytest.raises(DanluError, match="a model must make them"):
        decided(Rag(), document("d", ENGLISH))
    with speaking(lambda text, body: "No idea", tmp_path) as (engine, _):
        work = Rag(asking=engine)
        assert fates(decided(work, document("d", ENGLISH))) == [("dropped", "question used")]
        assert work.rejects.counts() == {"no questions": 1}
    with pytest.raises(DanluError, match="no question with a passage"):
        decided(Rag(), asks("1", "Hi"))
    for language in ("en", "zh"):
        (tmp_path / language / "rag").mkdir(parents=True)
        (tmp_path / language / "rag" / "say_retrieved.md").write_text("Hm.")
    from danlu.workshop.produce.prompts import Prompts

    with pytest.raises(DanluError, match="look at rag/say_"):
        decided(Rag(prompts=Prompts(tmp_path)), *shipped_questions())
