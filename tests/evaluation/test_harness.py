"""lm-evaluation-harness through its own API, on tasks of this machine; skips without it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.errors import EvaluationError
from danlu.evaluation.asking.local import LocalModel
from danlu.evaluation.harness import run_harness
from danlu.evaluation.harness_model import harness_model
from danlu.evaluation.schema import ModelAsked
from danlu.generation.local import TransformersGenerator
from danlu.sequences.encode import encode_prompt
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama

QUESTIONS = [
    {"question": "Is the iron red", "options": ["yes", "no"], "label": 0},
    {"question": "丹炉是什么", "options": ["炉子", "a question"], "label": 1},
]
CHOICE = """
task: furnace_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}? Answer:"
doc_to_choice: options
doc_to_target: label
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
FREE = """
task: furnace_free
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}?"
doc_to_target: "{{{{options[label]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 5, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Any) -> LocalModel:
    template = ChatTemplate.load(tiny_tokenizer)
    generator = TransformersGenerator(tiny_llama(), tiny_tokenizer, template)
    return LocalModel(generator, ModelAsked(name="tiny", fingerprint="t"))


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "furnace.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), "utf-8")
    for name, text in (("choice", CHOICE), ("free", FREE)):
        (tmp_path / f"{name}.yaml").write_text(text.format(data=data), "utf-8")
    return [str(tmp_path / "choice.yaml"), str(tmp_path / "free.yaml")]


@torch.no_grad()
def likelihood(model: LocalModel, before: str, after: str) -> float:
    generator: Any = model.generator
    whole = encode_prompt(generator.tokenizer, before + after)
    start = len(encode_prompt(generator.tokenizer, before))
    logits = generator.model(input_ids=torch.tensor([whole])).logits[0].double()
    logprobs = torch.log_softmax(logits, -1)
    return sum(logprobs[k - 1, whole[k]].item() for k in range(start, len(whole)))


@pytest.mark.filterwarnings("ignore")
def test_its_tasks_land_in_the_same_folder(
    model: LocalModel, tasks: list[str], tmp_path: Path
) -> None:
    found = run_harness(tasks, model, tmp_path / "out")
    types = found.evaluation().task_types
    assert types["lm_eval/furnace_choice"].scorer == "lm_eval/acc"
    assert types["lm_eval/furnace_free"].scorer == "lm_eval/exact_match"
    scores = {(row.item, row.scorer): row.value for row in found.scores()}
    for number, row in enumerate(QUESTIONS):
        before = f"{row['question']}? Answer:"
        expected = [likelihood(model, before, f" {one}") for one in row["options"]]
        item = f"furnace_choice-{number}"
        right = float(expected.index(max(expected)) == row["label"])
        assert scores[item, "lm_eval/acc"] == right
    summary = found.summary()
    assert summary is not None
    assert summary.task_types["lm_eval/furnace_choice"].items == 2
    assert found.state() == "finished"
    assert len(found.scored_rows()) == 4


@pytest.mark.filterwarnings("ignore")
def test_texts_roll_over_windows_and_answers_end(model: LocalModel, tasks: list[str]) -> None:
    from lm_eval.api.instance import Instance

    wrapped = harness_model(model)
    text = "one two three four five six " * 60  # longer than the context of 256
    [rolled] = wrapped.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])
    assert math.isfinite(rolled)
    [(value, _)] = wrapped.loglikelihood([Instance("loglikelihood", {}, ("a ", "question"), 0)])
    assert value == pytest.approx(likelihood(model, "a", " question"), abs=1e-3)
    request = Instance("generate_until", {}, ("one", {"until": [], "max_gen_toks": 6}), 0)
    [whole] = wrapped.generate_until([request])
    cut = Instance("generate_until", {}, ("one", {"until": [whole[2]], "max_gen_toks": 6}), 0)
    assert wrapped.generate_until([cut]) == [whole[: whole.index(whole[2])]]


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_task_is_told(model: LocalModel, tasks: list[str], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="lm-eval:no_such_task: the harness has no such task"):
        run_harness(["no_such_task"], model, tmp_path / "out")


def test_without_it_is_said_what_to_install(
    model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.evaluator", None)
    with pytest.raises(EvaluationError, match=r"pip install 'danlu\[lm-eval\]'"):
        run_harness(["x"], model, tmp_path / "out")
