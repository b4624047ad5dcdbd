"""Rewards: functions that are found or not, that crash, and reward models that Danlu trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.config.recipe import Recipe
from danlu.errors import DanluError, ModelError, RecipeError, TrainingError
from danlu.generation import Completion
from danlu.models.load import load_model, load_tokenizer
from danlu.models.readout import Readout
from danlu.records import Message, Record
from danlu.training.rewards import ModelReward, RuleReward, load_reward, must_name_reward
from danlu.training.run import train
from danlu.training.scoring import Packing
from tests.training.test_stages import write_answers

RULES = '''
from dataclasses import dataclass

import numpy

@dataclass
class Rule:
    """Dataclasses look their module up by name."""
    most: int

def length(answer, record):
    return Rule(len(answer)).most

def right(answer, record):
    return answer == record.messages[-1].content

def from_numpy(answer, record):
    return numpy.float32(len(answer)) / 2

def crashing(answer, record):
    return 1 / (len(answer) - 3)

def text(answer, record):
    return "good"

def nothing(answer, record):
    pass

def infinite(answer, record):
    return float("inf") if "炉" in answer else 1.0

NUMBER = 5
'''
ASKED = (Message("user", "Say iron"), Message("assistant", "iron"))
RECORD = Record("r7", "say/short", ASKED)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.py"
    file.write_text(RULES)
    return file


def recipe_of(reward: str | None) -> Recipe:
    tree = {"name": "x", "objective": {"name": "grpo"}, "rollouts": {"reward": reward}}
    return Recipe.model_validate(tree)


def loaded(reward: str | None) -> Any:
    device = torch.device("cpu")
    return load_reward(recipe_of(reward), Packing(64), device=device, dtype=torch.float32)


def said(text: str, finished: bool = True) -> Completion:
    return Completion(text, (5, 2), None, finished)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("length", [4.0, 2.0]), ("right", [1.0, 0.0]), ("from_numpy", [2.0, 1.0])],
)
def test_a_function_in_a_file(rules, name, expected):
    reward = loaded(f"{rules}:{name}")
    assert reward([RECORD, RECORD], [said("iron"), said("炉子")]) == expected


def test_a_function_in_a_module():
    assert loaded(f"{__name__}:count")([RECORD], [said("iron")]) == [4.0]


def count(answer: str, record: Record) -> int:
    return len(answer)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("crashing", r"crashing raised ZeroDivisionError: division by zero \(.*rules\.py:21\)"),
        ("text", "returned 'good', which is no number"),
        ("nothing", "returned None, which is no number"),
        ("infinite", "gave the reward inf"),
    ],
)
def test_a_failing_reward_names_the_record_and_shows_the_answer(rules, name, problem):
    with pytest.raises(TrainingError, match=problem) as caught:
        loaded(f"{rules}:{name}")([RECORD, RECORD], [said("fix it"), said("x炉!")])
    assert caught.value.where == "record r7"
    assert ("'x炉!'" if name in ("crashing", "infinite") else "'fix it'") in caught.value.message
    assert "--resume" in caught.value.message


def test_a_long_answer_is_shown_in_part():
    reward = RuleReward("rule", lambda answer, record: math.nan)
    with pytest.raises(TrainingError, match=r"the first 1000 of 5,000 characters") as caught:
        reward([RECORD], [said("y" * 5000)])
    assert "y" * 1000 in caught.value.message
    assert "y" * 1001 not in caught.value.message


def test_an_error_of_our_own_is_told_as_it_is():
    def judged(answer: str, record: Record) -> float:
        raise DanluError("the judge is not there.")

    with pytest.raises(DanluError, match=r"^the judge is not there\.$"):
        RuleReward("rule", judged)([RECORD], [said("a")])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("{rules}:lenght", "Did you mean 'length'"),
        ("{rules}:NUMBER", "has no function 'NUMBER'"),
        ("nowhere.py:f", r"there is no file nowhere\.py"),
        ("no_such_module:f", "cannot be imported"),
        ("{broken}:f", "broken.py cannot be imported: NameError"),
    ],
)
def test_a_function_that_is_not_there(rules, tmp_path, name, problem):
    broken = tmp_path / "broken.py"
    broken.write_text("undefined\n")
    with pytest.raises(RecipeError, match=problem) as caught:
        loaded(name.format(rules=rules, broken=broken))
    assert caught.value.where == "rollouts.reward"


def test_a_recipe_must_name_a_reward():
    with pytest.raises(RecipeError, match=r"rollouts\.reward: objective grpo needs to know"):
        must_name_reward(recipe_of(None))
    with pytest.raises(RecipeError, match="needs to know"):
        loaded(None)
    must_name_reward(recipe_of("rules.py:f"))


@pytest.fixture
def reward_run(tiny_recipe, tmp_path) -> Path:
    data = {"train": [str(write_answers(tmp_path / "answers.jsonl"))]}
    recipe = tiny_recipe(
        "reward", data=data, objective={"name": "reward"}, tuning={"method": "lora"}
    )
    return train(recipe, progress=False).path


def by_hand(folder: Path, prompt: str, answer: str) -> float:
    """Render, encode and read the last token, with nothing of Danlu's but loading."""
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = ids + tokenizer(f"{answer}<|im_end|>", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        states = model.get_decoder()(input_ids=torch.tensor([ids])).last_hidden_state
        return float(Readout.load(folder / "adapter")(states[0, -1])[0])


@pytest.mark.parametrize("pack_tokens", [1, 10_000])
@pytest.mark.parametrize("forest", [True, False])
def test_a_reward_run_reads_the_last_token(reward_run, pack_tokens, forest):
    """Groups, an empty answer, an answer in Chinese; in any layout."""
    reward = load_reward(
        recipe_of(str(reward_run)),
        Packing(pack_tokens, forest=forest),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    other = Record("r8", "say/long", (Message("user", "Say fire and wood"),))
    records = [RECORD, RECORD, other, RECORD]
    answers = ["iron iron", "", "炉 fire", "iron"]
    found = reward(records, [said(answer) for answer in answers])
    prompts = ["Say iron", "Say iron", "Say fire and wood", "Say iron"]
    expected = [by_hand(reward_run, *both) for both in zip(prompts, answers, strict=True)]
    assert found == pytest.approx(expected, abs=2e-5)
    assert len({round(score, 4) for score in found}) == 4
    assert reward([], []) == []


def test_an_answer_beyond_the_reward_models_context_is_refused(reward_run):
    long = Record("long", "a/b", (Message("user", "iron " * 400),))
    with pytest.raises(TrainingError, match=r"context ends at 256\.") as caught:
        loaded(str(reward_run))([RECORD, long], [said("a"), said("b")])
    assert caught.value.where == "record long"


def test_a_score_that_is_not_finite_is_refused(reward_run):
    reward = loaded(str(reward_run))
    assert isinstance(reward, ModelReward)
    torch.nn.init.constant_(reward.readout.linear.bias, math.nan)
    with pytest.raises(TrainingError, match=r"record r7: .* gave the reward nan"):
        reward([RECORD], [said("a")])


def test_what_was_not_trained_to_score_is_no_reward(tiny_recipe, reward_run, tiny_folder, tmp_path):
    with pytest.raises(ModelError, match=r"rollouts\.reward: .*no readout head"):
        loaded(str(train(tiny_recipe("plain"), progress=False).path))
    with pytest.raises(ModelError, match="no readout head"):
        loaded(str(tiny_folder))
    with pytest.raises(ModelError, match=r"rollouts\.reward"):
        loaded(str(tmp_path / "no" / "such" / "run"))
    with pytest.raises(ModelError, match="this is no reward model"):
        loaded("some-owner/some-model")
    about = reward_run / "adapter" / "readout.json"
    described = json.loads(about.read_text())
    about.write_text(json.dumps({**described, "names": ["value"]}))
    with pytest.raises(ModelError, match="its head reads value, and no reward"):
        loaded(str(reward_run))
