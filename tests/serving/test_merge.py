"""``danlu merge``: adapters and models; other shapes, bases and vocabularies refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from danlu.cli.main import run
from danlu.config.recipe import TuningSection
from danlu.models.load import load_for_tuning, load_model
from danlu.models.save import save_model
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """Two runs with adapters of one base, one with another base, and a wider model."""
    root = tmp_path_factory.mktemp("merge")
    for name, seed, width in (("base", 0, 32), ("other", 1, 32), ("wide", 0, 64)):
        tiny_llama(seed=seed, hidden_size=width).save_pretrained(root / name)
        tiny_tokenizer.save_pretrained(root / name)
    for seed, (name, base) in enumerate((("a", "base"), ("b", "base"), ("c", "other")), 1):
        tuning = TuningSection(lora_rank=4)
        model = apply_tuning(load_for_tuning(root / base, tuning), tuning)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in trainable_parameters(model).values():
                parameter += 0.1 * torch.randn_like(parameter)
        save_model(model, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer), root / name)
        (root / name / "recipe.yaml").write_text("name: x")
    return root


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: one.detach() for name, one in model.named_parameters()}


@pytest.mark.parametrize(
    ("arguments", "weights", "of_base"),
    [
        ([], (0.5, 0.5), 0.0),
        (["--method", "linear", "--weights", "0.25,0.75"], (0.25, 0.75), 0.0),
        (["--method", "task-arithmetic", "--weights", "1,-0.5"], (1.0, -0.5), 0.5),
    ],
)
def test_adapters_of_one_base(
    place: Path, tmp_path: Path, arguments: list[str], weights: Any, of_base: float, capsys: Any
) -> None:
    models = [str(place / "a"), str(place / "b")]
    assert run(["merge", *models, "--to", str(tmp_path / "m"), *arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert tuple(said["weights"]) == weights
    found = parameters(AutoModelForCausalLM.from_pretrained(tmp_path / "m"))
    a, b, base = (parameters(load_model(place / name)) for name in ("a", "b", "base"))
    for name, one in found.items():
        wanted = weights[0] * a[name] + weights[1] * b[name] + of_base * base[name]
        torch.testing.assert_close(one, wanted, atol=1e-6, rtol=1e-6)
    assert (tmp_path / "m" / "golden.json").is_file()
    assert (tmp_path / "m" / "chat_template.jinja").is_file()


def test_ties_of_one_model_twice_and_all_kept_is_that_model(place: Path, tmp_path: Path) -> None:
    a = str(place / "a")
    arguments = ["--method", "ties", "--density", "1", "--to", str(tmp_path / "m")]
    assert run(["merge", a, a, *arguments]) == 0
    found = parameters(AutoModelForCausalLM.from_pretrained(tmp_path / "m"))
    for name, one in parameters(load_model(a)).items():
        torch.testing.assert_close(found[name], one, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (("a",), [], "needs two models"),
        (("a", "b"), ["--method", "tie"], "Did you mean 'ties'?"),
        (("a", "b"), ["--weights", "1,0"], "a mean has no weights"),
        (("a", "b"), ["--method", "linear", "--weights", "1,1"], "their sum is 2"),
        (("a", "b"), ["--method", "linear", "--weights", "1"], "1 for 2 models"),
        (("a", "b"), ["--method", "linear", "--weights", "1;0"], "not numbers with commas"),
        (("a", "b"), ["--method", "ties", "--weights", "1,-1"], "each must be above 0"),
        (("a", "b"), ["--method", "ties", "--density", "0"], "must be above 0 and at most 1"),
        (("a", "c"), ["--method", "ties"], "different bases"),
        (("base", "other"), ["--method", "ties"], "name it by --base"),
        (("a", "b"), ["--base", "x"], "mean counts from no base"),
        (("base", "wide"), [], "is (360, 64), and (360, 32) there"),
    ],
)
def test_what_cannot_be_merged_is_told(
    place: Path, tmp_path: Path, names: Any, arguments: list[str], message: str, capsys: Any
) -> None:
    models = [str(place / name) for name in names]
    assert run(["merge", *models, "--to", str(tmp_path / "m"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_an_unknown_name_is_told_as_one(place: Path, tmp_path: Path, capsys: Any) -> None:
    """Nothing is said of an export."""
    assert run(["merge", str(place / "a"), "owner/model", "--to", str(tmp_path / "m")]) == 2
    told = capsys.readouterr().err
    assert "owner/model: there is no such folder here: give a run directory" in told
    assert "export" not in told
