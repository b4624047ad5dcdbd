"""What is known by heart, by models that know it so; and facts over the epochs of a real run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.cli.main import run as danlu
from danlu.config.recipe import Recipe
from danlu.diagnosis.asking import Ask, Likely
from danlu.diagnosis.checkpoints import checkpoints
from danlu.diagnosis.diagnose import ask, open_run
from danlu.diagnosis.examples import Example
from danlu.diagnosis.memorising import (
    Memorising,
    Verbatim,
    ask_facts,
    asked_forms,
    begin,
    facts_of,
    recall_findings,
)
from danlu.diagnosis.subject import Subject
from danlu.records import write_records
from danlu.records.record import Message
from danlu.training.run import train
from danlu.workshop.produce.abilities.knowledge import Knowledge
from danlu.workshop.produce.abilities.relations import Relations
from tests.diagnosis.scripted import Scripted

STOP = 2
ANSWER = (*range(100, 120), STOP)


def example(n, part="train", answer_ids=ANSWER):
    prompt = Ask((Message("user", f"q{n}"),), (1, n))
    return Example(f"{part}-{n}", "a/b", part, prompt, "x", answer_ids)


class Heart:
    """Knows the rests of some answers by heart: those of prompts in ``known``."""

    def __init__(self, name, known):
        self.name, self.known = name, known

    def likelihoods(self, pairs):
        assert all(pair.token_ids for pair in pairs)
        return [Likely(-1.0, 5, pair.ask.token_ids[1] in self.known) for pair in pairs]


def verbatim(trained, held_out=(), before=(), n=30):
    train, test = [example(k) for k in range(n)], [example(100 + k, "eval") for k in range(n)]
    tuned = Heart("tuned", {*range(trained), *(100 + k for k in held_out)})
    test = test if held_out is not None else []
    return Verbatim.seen(begin(train), begin(test), tuned, Heart("base", set(before)))


def test_an_answer_is_begun():
    [one] = begin([example(3)])
    assert one.given == tuple(range(100, 106))  # three tenths of twenty
    assert one.ask.token_ids == (1, 3, *one.given)
    assert one.rest == tuple(range(106, 120))  # without the stop
    assert begin([example(3, answer_ids=(5, 6, STOP))]) == []


def test_answers_by_heart():
    [found] = verbatim(25).findings()
    assert (found.name, found.severity, found.confidence) == ("answers-by-heart", "warning", "high")
    assert found.evidence[0].figures["trained"] == pytest.approx(25 / 30, abs=1e-4)
    assert found.evidence[0].records[0] == "train-0"
    # What held-out answers are continued with too, or was so before training, is no memory.
    assert verbatim(25, held_out=range(24)).findings() == []
    assert verbatim(25, before=range(24)).findings() == []
    assert verbatim(1).findings() == []


def test_fewer_by_heart_are_worth_a_note():
    [found] = verbatim(11).findings()
    assert (found.severity, found.confidence) == ("note", "medium")


# Invented facts --------------------------------------------------------------------------


def knowledge_records(**settings):
    maker = Knowledge("train", **{"entities": 6, "facts": 2, "languages": ("en",)} | settings)
    return [decision.record for decision in maker.decide([], lambda *_: None)]


def knowledge_examples(**settings):
    return [
        Example(
            one.id,
            one.task_type,
            "train",
            Ask(one.messages[:-1]),
            one.messages[-1].content,
            meta=one.meta,
        )
        for one in knowledge_records(**settings)
    ]


def recall(tuned, **settings):
    facts = asked_forms(knowledge_examples(**settings), Relations.load(), 40)
    return facts, ask_facts(facts, Scripted(tuned))


def by_form(facts, *forms):
    """Knows the facts in some forms of asking."""
    table = {fact.ask.question: fact.value for fact in facts if fact.form in forms}
    return lambda ask, seed: table.get(ask.question, "who knows")


def test_facts_are_asked_in_all_forms():
    facts = asked_forms(knowledge_examples(), Relations.load(), 40)
    assert sum(fact.form == "trained" for fact in facts) == 12
    assert sum(fact.form == "reworded" for fact in facts) == 12
    assert any(fact.form == "reversed" for fact in facts)
    trained = {one.ask.question for one in knowledge_examples()}
    for fact in facts:
        assert (fact.ask.question in trained) == (fact.form == "trained")
        asked_for = fact.subject if fact.form == "reversed" else None
        assert asked_for is None or fact.value == asked_for
    # Special tokens can be asked about, not asked for.
    tokens = asked_forms(knowledge_examples(naming="tokens"), Relations.load(), 40)
    assert {fact.form for fact in tokens} == {"trained", "reworded"}
    assert asked_forms([example(1)], Relations.load(), 40) == []
    assert (
        sum(f.form == "trained" for f in asked_forms(knowledge_examples(), Relations.load(), 3))
        == 3
    )


def test_recall_by_form():
    facts, _ = recall(lambda ask, seed: "")
    names = {
        forms: [
            one.name
            for one in recall_findings(
                ask_facts(facts, Scripted(by_form(facts, *forms))),
                ask_facts(facts, Scripted(by_form(facts))),
            )
        ]
        for forms in [
            ("trained", "reworded", "reversed"),
            ("trained", "reworded"),
            ("trained",),
            (),
        ]
    }
    assert names[()] == ["facts-not-recalled"]
    assert names["trained",] == ["facts-bound-to-wording", "facts-one-way"]
    assert names["trained", "reworded"] == ["facts-one-way"]
    assert names["trained", "reworded", "reversed"] == []


@pytest.fixture(scope="module")
def knowing(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on invented facts with a checkpoint per epoch; by its end it knows some."""
    place = tmp_path_factory.mktemp("knowing")
    data = place / "facts.jsonl"
    write_records(knowledge_records(entities=2, facts=1, naming="tokens"), data)
    recipe = Recipe.model_validate(
        {
            "name": "facts",
            "runs_dir": str(place),
            "model": {
                "path": Subject.open(trained).recipe.model.path,
                "new_tokens": ["<entity-1>", "<entity-2>"],
            },
            "data": {"train": [str(data)]},
            "tuning": {"method": "lora", "lora_rank": 8},
            "training": {
                "epochs": 40,
                "batch_records": 6,
                "learning_rate": 2e-2,
                "device": "cpu",
            },
            "checkpoints": {"every_steps": 20, "keep": 9},
            "samples": {"from_data": 0},
        }
    )
    return train(recipe, progress=False).path


def test_a_tiny_run_learns_facts_over_its_epochs(knowing, capsys):
    report = ask(Memorising(examples=3), open_run(knowing, device="cpu"))
    rows = report.figures["over_epochs"]
    assert [(row["step"], row["epoch"]) for row in rows] == [(20, 20), (40, 40)]
    # The last checkpoint is the saved model, and answers so.
    assert rows[-1]["trained"] == report.figures["recall"]["trained"]["recalled"]
    assert report.figures["recall_before"]["trained"]["recalled"] == 0
    assert report.figures["recall"]["trained"]["recalled"] >= 0.5
    assert danlu(["probe", "memorising", str(knowing), "--examples", "3"]) in (0, 1)
    assert "step 20, epoch 20.0" in capsys.readouterr().out


def test_checkpoints_are_the_models_of_their_steps(tiny_run):
    subject = Subject.open(tiny_run, device="cpu")
    found = checkpoints(subject)
    assert [one.step for one in found] == sorted(one.step for one in found)
    pairs = [one.pair() for one in subject.examples.draw("train")]
    nll = [sum(one.nll for one in model.likelihoods(pairs)) for *_, model in found]
    saved = sum(one.nll for one in subject.tuned.likelihoods(pairs))
    before = sum(one.nll for one in subject.base.likelihoods(pairs))
    assert nll[-1] == pytest.approx(saved, abs=1e-3)
    assert before > nll[0] > nll[-1]


def test_a_run_without_invented_facts_has_none(tiny_run):
    assert facts_of(Subject.open(tiny_run), 5) == []


def test_a_run_without_long_answers_or_facts_is_not_looked_at(tiny_run):
    resolved = json.loads((tiny_run.path / "resolved.json").read_text())
    resolved["recipe"]["objective"]["name"] = "kto"
    (tiny_run.path / "resolved.json").write_text(json.dumps(resolved))
    assert "word for word" in ask(Memorising(), open_run(tiny_run.path)).skipped
