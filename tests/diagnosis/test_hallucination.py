"""Where a wrong answer comes from: each class by a model that behaves so."""

from __future__ import annotations

import json

import pytest

from danlu.cli.main import run as danlu
from danlu.diagnosis.asking import Ask
from danlu.diagnosis.diagnose import ask, open_run
from danlu.diagnosis.hallucination import (
    Fact,
    Hallucination,
    draws,
    findings,
    in_turn,
    own_facts,
    shipped_facts,
    sorted_out,
    ways_to_ask,
)
from danlu.errors import EvaluationError
from danlu.generation.interface import Sampling
from tests.diagnosis.scripted import Scripted

SAMPLINGS = [Sampling(8, seed=seed) for seed in range(4)]
CAPITALS = {"Italy": "Rome", "Norway": "Oslo", "Peru": "Lima", "Egypt": "Cairo", "Kenya": "Nairobi"}
FACTS = [
    Fact(land, Ask.user(f"Capital of {land}?"), town, lambda text, town=town: town in text, "geo")
    for land, town in CAPITALS.items()
]


def asked_land(ask):
    return ask.question.rpartition("Capital of ")[2].partition("?")[0]


def says(**towns):
    """Answers each land by a town, or by one of several in turn."""

    def answer(ask, seed):
        town = towns.get(asked_land(ask), "somewhere")
        return town if isinstance(town, str) else town[seed % len(town)]

    return Scripted(answer)


def sort(base, tuned):
    ways = [ways_to_ask(fact, FACTS) for fact in FACTS]
    before = draws(base, ways, SAMPLINGS)
    after = draws(tuned, ways, SAMPLINGS)
    return {
        fact.name: sorted_out(fact, one, other)
        for fact, one, other in zip(FACTS, before, after, strict=True)
    }


def test_the_five_classes():
    guesses = ["A", "B", "C", "D"]
    base = says(Italy="Rome", Norway="Oslo", Peru=guesses, Egypt="Alexandria", Kenya=guesses)
    tuned = says(Italy="Rome", Norway="Bergen", Peru=guesses, Egypt="Alexandria", Kenya="Nairobi")
    found = sort(base, tuned)
    assert {name: one.is_of for name, one in found.items()} == {
        "Italy": "kept",
        "Norway": "lost",
        "Peru": "never-known",
        "Egypt": "wrong-before",
        "Kenya": "gained",
    }
    assert (found["Norway"].said_before, found["Norway"].said_after) == ("Oslo", "Bergen")
    assert found["Peru"].steadily == 0.25


def test_what_only_one_way_of_asking_draws_out_was_known():
    def only_as_text(ask, seed):
        if not ask.is_text:
            return "I cannot say"
        assert ask.question.count("A: ") == 4
        return f" {CAPITALS[asked_land(ask)]}.\nQ: and the next?"

    found = sort(Scripted(only_as_text), says())
    assert {one.is_of for one in found.values()} == {"lost"}
    assert found["Peru"].said_before == "Lima."


def plainly(wrong):
    """Knows every capital, and says something else where it is asked plainly."""

    def answer(ask, seed):
        return CAPITALS[asked_land(ask)] if len(ask.messages) > 1 or ask.is_text else wrong

    return Scripted(answer)


def test_what_is_still_there_is_not_lost():
    """A model that did not change has lost nothing, whichever way of asking draws an answer out."""
    same = sort(plainly("I cannot say"), plainly("I cannot say"))
    assert {one.is_of for one in same.values()} == {"untold"}
    assert findings(list(same.values()) * 4) == []
    silent = list(sort(says(**CAPITALS), plainly("I am Danlu")).values())
    assert {one.is_of for one in silent} == {"untold"}
    [found] = findings(silent * 4)
    assert (found.name, found.severity) == ("knowledge-untold", "warning")
    assert found.evidence[0].cases[0]["answer"] == "I am Danlu"


def test_chance_that_works_both_ways_is_no_loss():
    kept = list(sort(says(**CAPITALS), says(**CAPITALS)).values())
    lost = list(sort(says(**CAPITALS), says()).values())
    gained = list(sort(says(), says(**CAPITALS)).values())
    assert [one.name for one in findings(kept * 3 + lost)] == ["knowledge-lost"]
    assert "knowledge-lost" not in {one.name for one in findings(kept * 3 + lost + gained)}


def test_half_of_the_draws_is_known():
    half, less = ["Rome", "Rome", "x", "y"], ["Rome", "x", "y", "z"]
    assert sort(says(Italy=half), says(Italy=half))["Italy"].is_of == "kept"
    assert sort(says(Italy=less), says(Italy=less))["Italy"].is_of == "never-known"


def test_shown_is_what_a_model_knew_and_not_what_it_says_as_often():
    torn = sort(says(Italy=["Milan", "Milan", "Rome", "Rome"]), says())["Italy"]
    assert (torn.is_of, torn.said_before) == ("lost", "Rome")


def test_findings_need_more_than_a_few():
    everything = dict(CAPITALS)
    kept = list(sort(says(**everything), says(**everything)).values())
    assert findings(kept * 4) == []
    lost = list(sort(says(**everything), says()).values())
    # One lost of twenty known: Wilson's lower end is 0.9 %.
    assert findings(kept * 4 + lost[:1]) == []
    [found] = findings(kept + lost * 3)
    assert (found.name, found.severity, found.confidence) == ("knowledge-lost", "serious", "high")
    assert found.evidence[0].figures["lost"] == 0.75
    assert found.evidence[0].cases[0]["before"] == "Rome"
    wrong = list(sort(says(), says()).values())
    assert [one.name for one in findings(wrong * 3)] == ["wrong-since-pretraining"]
    guessed = list(sort(says(**{land: list("ABCD") for land in CAPITALS}), says()).values())
    assert [one.name for one in findings(guessed * 3)] == ["never-known"]


def test_a_fact_that_was_not_asked_is_left_out():
    assert sorted_out(FACTS[0], [[], []], [["Rome"]]) is None
    assert sorted_out(FACTS[0], [["Rome"]], [[]]) is None
    assert sorted_out(FACTS[0], [["Rome"], []], [["Rome"], ["Rome"]]) is None


def test_shipped_facts_are_in_both_languages():
    facts = in_turn(shipped_facts(), 6)
    assert [fact.group for fact in facts] == ["knowledge/en", "knowledge/zh"] * 3
    japan = next(fact for fact in shipped_facts() if "Japan" in fact.ask.question)
    assert japan.is_right("It is Tokyo.")
    assert not japan.is_right("It is Kyoto.")


def test_own_facts(tmp_path):
    file = tmp_path / "facts.jsonl"
    rows = [("Capital of Italy?", "Rome"), ("中国的首都？", "北京")]
    file.write_text(
        "".join(
            json.dumps({"task_type": "geo/town", "prompt": q, "completion": a}) + "\n"
            for q, a in rows
        )
    )
    rome, beijing = own_facts([str(file)])
    assert rome.is_right("The capital of Italy is Rome.")
    assert not rome.is_right("Romeo")
    assert beijing.is_right("首都是北京。")
    assert not beijing.is_right("南京")
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "q"}]}) + "\n")
    with pytest.raises(EvaluationError, match="question and its answer"):
        own_facts([str(file)])


def test_a_tiny_run(tiny_run, tmp_path, capsys):
    report = ask(Hallucination(most=2, draws=1), open_run(tiny_run.path, device="cpu"))
    assert sum(report.figures["classes"].values()) == 2
    command = ["probe", "hallucination", str(tiny_run.path), "--most", "2", "--draws", "1"]
    assert danlu(command) in (0, 1)
    assert "never known" in capsys.readouterr().out
    assert danlu([*command, "--items", str(tmp_path / "none.jsonl")]) == 2
