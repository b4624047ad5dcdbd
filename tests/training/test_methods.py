"""Every tuning method from recipe to answers: forest as rows, chat as the sample, and going on."""

import importlib.util

import pytest

from danlu.errors import RecipeError
from danlu.generation import Sampling
from danlu.runs import RunDirectory
from danlu.serving.chat import load
from danlu.training.run import train

METHODS = {
    "lora-plus": {"method": "lora", "lora_plus_ratio": 4},
    "pissa": {"method": "lora", "lora_rank": 4, "lora_options": {"init_lora_weights": "pissa"}},
    "ia3": {"method": "ia3"},
    "serial": {"method": "adapter", "adapter_parts": ["attention", "mlp"]},
    "parallel": {"method": "adapter", "adapter_form": "parallel"},
    "prefix": {"method": "prefix", "virtual_tokens": 4},
    "prompt": {"method": "prompt", "virtual_tokens": 4, "init_text": "furnace"},
    "ptuning": {"method": "ptuning", "virtual_tokens": 4},
    "nf4": {"method": "qlora"},
}
NEW = ["<炉>"]


def losses(run):
    rows = RunDirectory.open(run.path).metrics()
    return [row.loss for row in rows if row.split == "train"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_from_recipe_to_answers(tiny_recipe, name):
    tuning = METHODS[name]
    if tuning["method"] == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed: pip install 'danlu[qlora]'")
    sections = {"tuning": tuning, "samples": {"prompts": ["Say iron"], "max_new_tokens": 4}}
    run = train(tiny_recipe("one", **sections, model={"new_tokens": NEW}), progress=False)
    model = {"new_tokens": NEW, "attention": "rows"}
    rows = train(tiny_recipe("rows", **sections, model=model), progress=False)
    assert losses(run) == pytest.approx(losses(rows), rel=1e-4)
    assert min(losses(run)) < losses(run)[0]
    chat = load(run.path, sampling=Sampling(max_new_tokens=4, greedy=True))
    assert chat.chat("Say iron") == RunDirectory.open(run.path).samples()[0].after

    goes_on = {"start": "continue"}
    more = train(
        tiny_recipe(
            "more", tuning=goes_on | {"method": tuning["method"]}, model={"path": str(run.path)}
        ),
        progress=False,
    )
    assert more.summary.method == tuning["method"]
    # An adapter that began from the weights goes on with twice its rank.
    if name != "pissa":
        assert more.summary.trainable_parameters == run.summary.trainable_parameters


def test_a_prefix_and_gradient_checkpointing_exclude_each_other(tiny_recipe):
    recipe = tiny_recipe(tuning={"method": "prefix"}, training={"gradient_checkpointing": True})
    with pytest.raises(RecipeError, match="cache"):
        train(recipe, progress=False)
