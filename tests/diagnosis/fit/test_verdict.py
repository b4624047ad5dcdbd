"""Each verdict by a model that behaves so: what it answers and how likely it finds the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from danlu.config.recipe import Recipe
from danlu.diagnosis.asking import Ask
from danlu.diagnosis.examples import Example
from danlu.diagnosis.fit.causes import closeness, outliers, why_not_general, why_not_learned
from danlu.diagnosis.fit.measured import (
    Curve,
    Half,
    Measured,
    asked,
    plain,
    repeated,
    shown_ability,
)
from danlu.diagnosis.fit.verdict import decide
from danlu.diagnosis.fit.wording import finding_of, row_of
from danlu.diagnosis.measure import measures
from tests.diagnosis.scripted import Scripted

CITIES = ["Oslo", "Lima", "Rome", "Kyiv", "Bern", "Cairo", "Quito", "Tunis", "Delhi", "Seoul"]
RECIPE = Recipe.model_validate({"name": "x"})


def capitals(count, start=0):
    return [(f"capital of land {n}?", f"{CITIES[n % 10]}{n}") for n in range(start, start + count)]


def examples(pairs, part):
    return [
        Example(f"{part}-{n}", "geo/capital", part, Ask.user(q), a)
        for n, (q, a) in enumerate(pairs)
    ]


def measured(train, held_out, answers, nll=1.0, before=3.0, **more):
    drawn = [*examples(train, "train"), *examples(held_out, "eval")]
    how = measures(drawn)
    cases = asked(drawn, how, Scripted(answers, nll), Scripted({}, before, name="base"))
    halves = Half(tuple(cases[: len(train)])), Half(tuple(cases[len(train) :]))
    known = {plain(a): (f"train-{n}",) for n, (_, a) in enumerate(train)}
    [measure] = how.values()
    return Measured("geo/capital", measure, len(train), *halves, answers=known, **more)


def right(pairs):
    return dict(pairs)


def wrong(pairs, answer="Nowhere"):
    return {q: f"{answer} {n}" for n, (q, _) in enumerate(pairs)}


TRAIN, TEST = capitals(30), capitals(30, start=100)


def test_healthy():
    found = measured(TRAIN, TEST, right(TRAIN) | right(TEST))
    assert decide(found)[:2] == ("healthy", "high")
    assert finding_of(found, decide(found), RECIPE) is None


def test_not_learned():
    found = measured(TRAIN, TEST, wrong(TRAIN) | wrong(TEST))
    assert decide(found)[:2] == ("not-learned", "high")
    told = finding_of(found, decide(found), RECIPE)
    assert told.severity == "serious"
    assert told.evidence[0].figures["right"] == 0
    assert told.evidence[0].cases[0]["record"] == "train-0"


def test_learned_and_not_general():
    found = measured(TRAIN, TEST, right(TRAIN) | wrong(TEST))
    assert decide(found)[:2] == ("not-general", "high")


def test_held_out_prompts_that_get_training_answers_are_overfitted():
    copied = {q: TRAIN[n][1] for n, (q, _) in enumerate(TEST)}
    found = measured(TRAIN, TEST, right(TRAIN) | copied)
    assert decide(found).pattern == "copies"
    told = finding_of(found, decide(found), RECIPE)
    assert (told.name, told.confidence) == ("overfitted", "high")
    assert told.evidence[0].figures == {"copied": 30, "wrong": 30}
    assert set(told.evidence[0].records) == {f"train-{n}" for n in range(30)}


def test_one_answer_to_everything_is_a_collapse():
    found = measured(TRAIN, TEST, right(TRAIN) | {q: "Oslo0" for q, _ in TEST})
    assert decide(found).pattern == "collapse"
    told = finding_of(found, decide(found), RECIPE)
    assert told.evidence[0].figures["given"] == 30
    assert told.evidence[0].records == ("train-0",)
    assert "probe pattern" in told.remedies[0].commands[0]
    assert "--wrong WORD" not in told.remedies[0].commands[0]  # the whole answer is what is wrong


def test_one_answer_that_the_data_have_too_is_none():
    """Labels: nine of ten references are "no", and the model says so; the tenth it misses."""
    train = [(f"q{n}", "no" if n % 10 else "yes") for n in range(40)]
    test = [(f"t{n}", "no" if n % 10 else "yes") for n in range(40)]
    found = measured(train, test, right(train) | {q: "no" for q, _ in test})
    assert decide(found).name == "healthy"
    # One of two: a collapse, though every answer is a training answer and so none a "copy".
    even = [(f"t{n}", ("yes", "no")[n % 2]) for n in range(40)]
    found = measured(even, even, right(even))
    assert decide(found).name == "healthy"
    other = [(f"u{n}", ("yes", "no")[n % 2]) for n in range(40)]
    found = measured(even, other, right(even) | {q: "no" for q, _ in other})
    assert decide(found).pattern == "collapse"


def test_without_held_out_prompts_it_is_untested():
    found = measured(TRAIN, [], right(TRAIN))
    assert decide(found)[:2] == ("learned-untested", "high")


@pytest.mark.parametrize(
    ("count", "right_ones", "verdict"),
    [
        # Wilson at 95 %: 10/10 is 72 to 100 %, above the bar of 70.
        (10, 10, ("learned-untested", "high")),
        # 5/5: 57 to 100 % at 95, 75 to 100 at 80.
        (5, 5, ("learned-untested", "medium")),
        # 3/3 is 65 % at best; 9/12 straddles the bar.
        (3, 3, ("too-few-to-tell", "low")),
        (12, 9, ("too-few-to-tell", "low")),
        (30, 11, ("not-learned", "high")),
    ],
)
def test_too_few_is_a_verdict(count, right_ones, verdict):
    train = TRAIN[:count]
    answers = wrong(train) | right(train[:right_ones])
    assert decide(measured(train, [], answers))[:2] == verdict


def test_nothing_asked_is_too_few():
    assert decide(nothing()).name == "too-few-to-tell"


def nothing():
    [measure] = measures(examples(TRAIN, "train")).values()
    return Measured("geo/capital", measure, 30, Half())


# Free text -------------------------------------------------------------------------------


def talks(count, start=0):
    return [
        (f"tell of {n}", f"A long and winding tale of hero {n} who went to the sea and back.")
        for n in range(start, start + count)
    ]


TOLD, UNTOLD = talks(30), talks(30, start=100)


def free(train_nll, test_nll, before=3.0):
    nll = {q: train_nll(n) for n, (q, _) in enumerate(TOLD)}
    nll |= {q: test_nll(n) for n, (q, _) in enumerate(UNTOLD)}
    found = measured(TOLD, UNTOLD, wrong(TOLD) | wrong(UNTOLD), nll, before)
    assert found.measure.is_open
    return decide(found)


def around(middle):
    return lambda n: middle + 0.1 * (n % 3 - 1)


def test_free_text_is_judged_by_what_training_moved():
    assert free(around(1.5), around(2.0))[:2] == ("healthy", "high")
    assert free(around(2.9), around(2.9))[:2] == ("not-learned", "high")
    assert free(around(1.0), around(2.9))[:2] == ("not-general", "high")
    worse = free(around(1.0), around(3.5))
    assert (worse.name, worse.pattern) == ("overfitted", "worse")
    # Known before: nothing moves, and nothing has to.
    assert free(around(0.3), around(0.3), before=0.3).name == "healthy"


def test_free_text_that_scatters_is_too_few_to_tell():
    assert free(around(1.0), lambda n: 2.4 + 6 * (n % 2 - 0.5)).name == "too-few-to-tell"


# Why, and what to do ---------------------------------------------------------------------


def curve(**changes):
    return Curve(
        **{"last": 1.0, "falling": 0.0, "token_share": 0.5, "record_share": 0.5, "passes": 3.0}
        | changes
    )


def causes(nll=1.0, before=3.0, recipe=RECIPE, **changes):
    found = measured(TRAIN, [], wrong(TRAIN), nll, before, curve=curve(**changes))
    return why_not_learned(found, recipe)


def test_why_not_learned():
    [few, longer] = causes(falling=0.2)
    assert few.evidence.figures == {"records": 30}
    assert longer.remedy.settings == {"training.epochs": 2 * RECIPE.training.epochs}
    weak = causes(falling=0.0)[-1]
    assert weak.remedy.settings["training.learning_rate"] == pytest.approx(
        3 * RECIPE.training.learning_rate
    )
    starved = causes(token_share=0.01, record_share=0.3)[0]
    assert starved.remedy.settings == {"sequences.weighting": "record"}
    by_record = Recipe.model_validate({"name": "x", "sequences": {"weighting": "record"}})
    assert all(
        "sequences.weighting" not in cause.remedy.settings
        for cause in causes(token_share=0.01, record_share=0.3, recipe=by_record)
    )


def test_what_training_did_not_move_needs_larger_steps():
    [stuck] = causes(nll=2.9, last=2.9, falling=0.2)
    assert stuck.remedy.settings == {"training.learning_rate": 10 * RECIPE.training.learning_rate}
    assert "2.90 nats per token, and had 3.00" in stuck.evidence.says
    starved, stuck = causes(nll=2.9, last=2.9, token_share=0.01, record_share=0.3)
    assert starved.remedy.settings == {"sequences.weighting": "record"}
    assert not starved.is_fault


def test_a_handful_of_prompts_is_never_sure():
    few = capitals(2)
    assert decide(measured(few, [], wrong(few)))[:2] == ("not-learned", "medium")
    five = capitals(5)
    assert decide(measured(five, [], wrong(five)))[:2] == ("not-learned", "high")


def test_what_decides_is_asked_first_and_task_types_take_turns():
    """A budget that is over has left the same number of each."""
    drawn = examples(TRAIN[:3], "train")
    drawn += [replace(one, task_type="geo/land") for one in examples(TEST[:3], "train")]
    order = []

    class Noting(Scripted):
        def answer(self, asks, sampling):
            order.append(("answer", [ask.question for ask in asks]))
            return super().answer(asks, sampling)

        def likelihoods(self, pairs):
            order.append((self.name, [pair.ask.question for pair in pairs]))
            return super().likelihoods(pairs)

    tuned, base = Noting(right(TRAIN) | wrong(TEST)), Noting({}, 3.0, name="base")
    cases = asked(drawn, measures(drawn), tuned, base)
    turns = [q for pair in zip(TRAIN[:3], TEST[:3], strict=True) for q, _ in pair]
    assert order == [("base", turns), ("tuned", turns), ("answer", turns)]
    assert [case.example for case in cases] == drawn
    assert [case.right for case in cases] == [True] * 3 + [False] * 3


def test_faults_come_alone():
    [saved] = causes(nll=4.0, before=5.0)
    assert saved.is_fault
    assert saved.evidence.figures["last_training_loss"] == 1.0
    [worse] = causes(nll=1.4, before=1.0)
    assert worse.is_fault
    assert worse.remedy.settings["training.learning_rate"] == pytest.approx(
        RECIPE.training.learning_rate / 10
    )
    told = finding_of(
        of := measured(TRAIN, [], wrong(TRAIN), 4.0, 5.0, curve=curve()), decide(of), RECIPE
    )
    assert "something is broken" in told.says


def test_the_best_step_that_was_kept_is_no_fault():
    held_out = Recipe.model_validate({"name": "x", "data": {"eval_share": 0.1}})
    assert not any(cause.is_fault for cause in causes(nll=4.0, before=5.0, recipe=held_out))


def test_outliers_are_the_records_far_from_the_others():
    nll = {q: 1.0 + 0.05 * (n % 5) for n, (q, _) in enumerate(TRAIN)}
    nll[TRAIN[7][0]], nll[TRAIN[3][0]] = 6.0, 3.0
    found = measured(TRAIN, [], right(TRAIN), nll)
    assert [one.case.example.record for one in outliers(found.train.cases)] == [
        "train-7",
        "train-3",
    ]
    assert outliers(found.train.cases[:9]) == []
    even = measured(TRAIN, [], right(TRAIN), 1.0)
    assert outliers(even.train.cases) == []


def test_ability_of_the_model_before_training():
    test = examples(TEST, "eval")
    shots = examples(TRAIN, "train")
    [measure] = measures(shots).values()
    truth = right(TEST)

    def only_plain_text(ask, seed):
        """Knows nothing in a conversation, and all as a continuation after four examples."""
        if not ask.is_text:
            return "?"
        assert ask.question.count("Q: ") == 5
        question = ask.question.rpartition("Q: ")[2].partition("\nA:")[0]
        return f" {truth[question]}\n\nQ: and so on"

    able = shown_ability(measure, shots, test, Scripted(only_plain_text, 2.0))
    assert (able.right.value, able.nll, able.shots) == (1.0, 2.0, 4)
    found = measured(TRAIN, TEST, right(TRAIN) | wrong(TEST), ability=able)
    [cause] = why_not_general(found)
    assert "is there" in cause.evidence.says
    unable = shown_ability(measure, shots, test, Scripted(lambda ask, seed: "?", 2.0))
    found = measured(TRAIN, TEST, right(TRAIN) | wrong(TEST), ability=unable)
    [cause] = why_not_general(found)
    assert "is not there" in cause.evidence.says
    assert "prompt" in cause.remedy.says


def test_narrow_prompts():
    train = [(f"What is the capital city of country number {n}?", f"C{n}") for n in range(10)]
    test = [(f"{n}-land is governed out of which town", f"D{n}") for n in range(10)]
    found = measured(train, test, right(train) | wrong(test))
    assert any("narrow" in cause.remedy.says for cause in why_not_general(found))
    alike = [(f"What is the capital city of country number {n}?", f"D{n}") for n in range(50, 60)]
    found = measured(train, alike, right(train) | wrong(alike))
    assert why_not_general(found) == []
    assert closeness(["a"], ["b"]) is None


def test_repeated_counts_only_wrong_answers_of_other_records():
    answers = right(TRAIN) | right(TEST) | {TEST[0][0]: TRAIN[5][1]}
    found = repeated(measured(TRAIN, TEST, answers))
    assert [case.example.record for case in found.copied] == ["eval-0"]
    assert found.records == ("train-5",)


def test_the_row_has_the_numbers():
    found = measured(TRAIN, TEST, right(TRAIN) | wrong(TEST), nll=0.5, before=2.0)
    row = row_of(found, decide(found))
    assert row["train_right"] == 1.0
    assert row["held_out_right_of"] == 30
    assert (row["train_nll"], row["train_nll_before"]) == (0.5, 2.0)
    assert row["train_probability"] == pytest.approx(0.00674, rel=1e-3)  # exp(-0.5 * 10)
