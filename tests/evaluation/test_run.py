"""An evaluation from asking to its table: kept as it comes, resumed, reused, never a false 0."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from danlu.errors import EvaluationError
from danlu.evaluation.asking.endpoint import EndpointModel
from danlu.evaluation.asking.local import LocalModel
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.run import Drawing, evaluate, score
from danlu.evaluation.schema import ModelAsked, TypeStakes
from danlu.generation import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.sequences.template import ChatTemplate
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.endpoint import Endpoint
from danlu.workshop.produce.pace import Pacing
from tests.evaluation.scripted import asks, lines, scripted, suite_of
from tests.tiny_models import tiny_llama
from tests.workshop.produce.endpoint_server import Does, said, serving

SUITE = suite_of(asks("a", "1 + 1 =", "2"), asks("b", "一加二等于几？", "三"))
ANSWERS = {"1 + 1 =": "2", "一加二等于几？": "四"}


def test_answers_scores_and_table_land_in_the_folder(tmp_path: Path) -> None:
    model, _ = scripted(ANSWERS)
    found = evaluate(SUITE, model, tmp_path)
    assert found.name == "small-m"
    assert found.state() == "finished"
    assert {(row.item, row.text) for row in found.answers()} == {("a", "2"), ("b", "四")}
    assert {row.item: row.value for row in found.scores()} == {"a": 1.0, "b": 0.0}
    summary = found.summary()
    assert summary is not None
    of = summary.task_types["know/sums"]
    assert (of.items, of.scored, of.score, summary.score) == (2, 2, 0.5, 0.5)
    # Wilson's interval of 1 of 2: (0.5 + z^2/4 -+ z sqrt(1/8 + z^2/16)) / (1 + z^2/2).
    assert (of.low, of.high) == (pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4))
    assert [row.score for row in found.scored_rows()] == [1.0, 0.0]


def test_the_same_call_asks_nothing_again_and_another_evaluation_reuses(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "answers.sqlite") as cache:
        model, generator = scripted(ANSWERS, cache)
        first = evaluate(SUITE, model, tmp_path)
        again = evaluate(SUITE, model, tmp_path)
        assert again.path == first.path
        assert len(generator.answered) == 2
        wider = suite_of(*SUITE.items, asks("c", "2 + 2 =", "4"))
        model, generator = scripted(ANSWERS | {"2 + 2 =": "4"}, cache)
        other = evaluate(wider, model, tmp_path)
        assert other.name == "small-m-2"
        assert generator.answered == ["2 + 2 ="]
        assert {row.item: row.reused for row in other.answers()} == {
            "a": True,
            "b": True,
            "c": False,
        }
        retrained, generator = scripted(ANSWERS, cache, fingerprint="w2")
        evaluate(SUITE, retrained, tmp_path)
        assert len(generator.answered) == 2


def test_another_evaluation_is_not_written_over(tmp_path: Path) -> None:
    model, _ = scripted(ANSWERS)
    evaluate(SUITE, model, tmp_path, name="mine")
    with pytest.raises(EvaluationError, match="another evaluation"):
        evaluate(SUITE, scripted(ANSWERS, fingerprint="w2")[0], tmp_path, name="mine")


def test_samples_have_their_seeds_and_are_averaged(tmp_path: Path) -> None:
    drawing = Drawing(Sampling(8, temperature=1.0), seeds=(7, 8))
    first, second = (drawing.seed_of("a", sample) for sample in range(2))
    model, _ = scripted(lambda text, seed: "2" if seed == second else "3")
    found = evaluate(suite_of(asks("a", "1 + 1 =", "2")), model, tmp_path, drawing=drawing)
    assert sorted((row.sample, row.seed, row.text) for row in found.answers()) == [
        (0, first, "3"),
        (1, second, "2"),
    ]
    assert [row.score for row in found.scored_rows()] == [0.5]
    assert found.evaluation().seeds == (7, 8)
    with pytest.raises(EvaluationError, match="greedy answers are all the same"):
        Drawing(Sampling(8, greedy=True), seeds=(0, 1))


def test_prompts_are_not_drawn_with_the_same_numbers(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    """One sample of forty equal prompts: with the same numbers, all answers would be equal."""
    template = ChatTemplate.load(tiny_tokenizer)
    generator = TransformersGenerator(tiny_llama(), tiny_tokenizer, template)
    model = LocalModel(generator, ModelAsked(name="tiny", fingerprint="w"))
    suite = suite_of(*(asks(str(number), "1 + 1 =", "2") for number in range(40)))
    drawing = Drawing(Sampling(3, temperature=1.0), seeds=(7,))
    found = list(evaluate(suite, model, tmp_path, drawing=drawing).answers())
    assert len({row.seed for row in found}) == 40
    assert len({row.text for row in found}) > 30


def test_what_cannot_be_asked_or_read_is_missing_with_its_kind(tmp_path: Path) -> None:
    suite = suite_of(
        asks("a", "unrenderable", "1"),
        asks("b", "long", "1"),
        asks("c", "how many?", "1"),
        asks("d", "and here?", "1"),
        know__sums="numeric",
    )
    model, generator = scripted({"how many?": "I cannot say", "and here?": "1"})
    generator.context_tokens = 100
    found = evaluate(suite, model, tmp_path)
    failures = {row.item: row.failure.kind for row in found.scores() if row.failure}
    assert failures == {"a": "refused", "b": "too_long", "c": "not_read"}
    summary = found.summary()
    assert summary is not None
    of = summary.task_types["know/sums"]
    assert (of.items, of.scored, of.score) == (4, 1, 1.0)
    assert of.failures == {"not_read": 1, "refused": 1, "too_long": 1}


def test_a_task_type_without_any_score_leaves_none_not_0(tmp_path: Path) -> None:
    suite = suite_of(
        asks("a", "?", "1"),
        asks("b", "!", None, "talk/small"),
        know__sums="numeric",
        talk__small=TypeStakes(scorer="judge", also=("length",)),
    )
    model, _ = scripted({"?": "1", "!": "so it goes"})
    summary = evaluate(suite, model, tmp_path).summary()
    assert summary is not None
    assert summary.score is None
    assert summary.task_types["talk/small"].score is None
    assert summary.task_types["talk/small"].figures == {"length": 3.0}


def test_a_second_turn_goes_on_from_the_models_own_first_answer(tmp_path: Path) -> None:
    suite = suite_of(asks("t1", "Name a city.", "巴黎"), asks("t2", "Where?", "法国", follows="t1"))
    model, generator = scripted({"Name a city.": "巴黎", "Where?": "法国"})
    found = evaluate(suite, model, tmp_path)
    assert [message.content for message in generator.conversations[-1]] == [
        "Name a city.",
        "巴黎",
        "Where?",
    ]
    asked = {row.item: row.asked for row in found.answers()}
    assert asked["t1"] is None
    assert asked["t2"] is not None
    assert [one["content"] for one in asked["t2"]] == ["Name a city.", "巴黎", "Where?"]


def test_a_reference_that_fits_no_scorer_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    suite = suite_of(asks("a", "?", "one or two"), know__sums="numeric")
    model, generator = scripted({"?": "1"})
    with pytest.raises(EvaluationError, match="item a: numeric: the reference is 'one or two'"):
        evaluate(suite, model, tmp_path)
    assert generator.conversations == []


def test_longest_answers_are_those_of_the_task_type(tmp_path: Path) -> None:
    suite = suite_of(
        asks("a", "?", "1"),
        asks("b", "!", "1", "know/more"),
        know__more=TypeStakes(scorer="exact", max_new_tokens=9),
    )
    model, generator = scripted({"?": "1", "!": "1"})
    evaluate(suite, model, tmp_path)
    assert sorted(zip(generator.answered, generator.limits, strict=True)) == [("!", 9), ("?", 512)]


def test_html_and_control_characters_stay_text(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>\x1b[31m\u2028\x00红\ud800"
    model, _ = scripted({"?": nasty})
    found = evaluate(suite_of(asks("a", "?", "1")), model, tmp_path)
    [row] = found.answers()
    assert row.text == nasty.replace("\ud800", "?")
    assert lines(found.path / "answers.jsonl") == 1


def test_scoring_again_needs_no_model_and_keeps_what_a_judge_said(tmp_path: Path) -> None:
    model, _ = scripted(ANSWERS)
    found = evaluate(SUITE, model, tmp_path)
    judged = next(found.scores()).model_copy(update={"scorer": "judge/helpful", "value": 0.7})
    with EvalDirectory.resume(found.path) as directory:
        directory.write_scores([judged])
        summary = score(directory)
    assert summary.score == 0.5
    assert {row.scorer for row in found.scores()} == {"exact", "judge/helpful"}
    assert summary.task_types["know/sums"].figures == {"judge/helpful": 0.7}


def test_an_endpoint_that_fails_for_a_while_is_asked_again_the_next_time(tmp_path: Path) -> None:
    up = False

    def script(body: dict[str, object], time_: int) -> Does:
        if said(body) == "1 + 1 =":
            return Does("2")
        return Does("三") if up else Does(status=503)

    pacing = Pacing(concurrency=1, attempts=1, first_wait_s=0.01)
    with serving(script) as server, RequestCache(tmp_path / "answers.sqlite") as cache:
        for expected in ("endpoint", None):
            with EndpointModel(Endpoint(server.url, "strong"), cache, pacing) as model:
                found = evaluate(SUITE, model, tmp_path)
            kinds = {row.item: row.failure.kind if row.failure else None for row in found.scores()}
            assert kinds == {"a": None, "b": expected}
            up = True
        assert server.asked["1 + 1 ="] == 1
        assert found.evaluation().model.address == f"{server.url}/chat/completions"
        assert [row.score for row in found.scored_rows()] == [1.0, 1.0]


SLOW = """
import sys, time
from pathlib import Path
from danlu.evaluation.run import evaluate
from tests.evaluation.scripted import asks, scripted, suite_of
def says(text, seed):
    Path(sys.argv[2]).open("a").write(text + "\\n")
    time.sleep(float(sys.argv[3]))
    return text
suite = suite_of(*(asks(f"q{k}", f"第{k}题", f"第{k}题") for k in range(8)))
evaluate(suite, scripted(says)[0], sys.argv[1])
"""


def test_a_killed_evaluation_goes_on_without_asking_again(tmp_path: Path) -> None:
    log, folder = tmp_path / "asked.txt", tmp_path / "evals"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SLOW, str(folder), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([*command, "0.2"], env=environment, cwd=root) as running:
        answers = folder / "small-m" / "answers.jsonl"
        until = time.monotonic() + 60
        while lines(answers) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    killed = EvalDirectory.open(folder / "small-m")
    assert killed.state() == "interrupted"
    with answers.open("a") as file:
        file.write('{"item": "q0", "te')  # what a kill within a line leaves
    subprocess.run([*command, "0"], env=environment, cwd=root, check=True)
    whole = EvalDirectory.open(folder / "small-m")
    assert whole.state() == "finished"
    assert len(list(whole.answers())) == 8
    asked = log.read_text("utf-8").splitlines()
    # The one under way when it was killed was asked, and not answered.
    assert len(set(asked)) == 8
    assert len(asked) <= 9


def test_one_that_was_killed_before_it_had_begun_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "small-m").mkdir()
    (tmp_path / "small-m" / "items.jsonl").write_text("{")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert evaluate(SUITE, scripted(ANSWERS)[0], tmp_path).state() == "finished"
    with pytest.raises(EvaluationError, match="something is there already"):
        evaluate(SUITE, scripted(ANSWERS)[0], tmp_path, name="other")


def test_an_evaluation_as_json_says_what_was_reused(tmp_path: Path) -> None:
    from danlu.cli.eval.common import as_object, remarks

    with RequestCache(tmp_path / "answers.sqlite") as cache:
        evaluate(SUITE, scripted(ANSWERS, cache)[0], tmp_path)
        found = evaluate(SUITE, scripted(ANSWERS, cache)[0], tmp_path, name="again")
    summary = found.summary()
    assert summary is not None
    told = json.loads(json.dumps(as_object(found, summary)))
    assert (told["answers"], told["reused"], told["state"]) == (2, 2, "finished")
    assert told["results"]["know/sums"]["score"] == 0.5
    assert "2 of 2 answers were known" in remarks(found, summary)[0]
