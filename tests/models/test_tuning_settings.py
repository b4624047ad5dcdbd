"""The ``tuning`` section: a setting that does nothing is an error."""

import pytest
from pydantic import ValidationError

from danlu.config.recipe import TuningSection
from danlu.models.tuning import METHODS

OWN = {
    "lora": {"lora_rank": 4, "lora_plus_ratio": 16, "lora_options": {"use_dora": True}},
    "qlora": {"lora_rank": 4, "quantisation": "int8"},
    "full": {"parts": ["mlp"]},
    "ia3": {"ia3_targets": ["q_proj"]},
    "adapter": {"adapter_form": "parallel", "adapter_parts": ["attention"], "adapter_size": 8},
    "prefix": {"virtual_tokens": 4, "init_text": "a"},
    "prompt": {"virtual_tokens": 4, "init_text": "a"},
    "ptuning": {"virtual_tokens": 4, "encoder": "lstm", "encoder_size": 8},
}
READERS = {
    "start": {"lora", "qlora", "ia3", "adapter", "prefix", "prompt", "ptuning"},
    "lora_rank": {"lora", "qlora"},
    "lora_plus_ratio": {"lora", "qlora"},
    "lora_options": {"lora", "qlora"},
    "quantisation": {"qlora"},
    "parts": {"full"},
    "layers": {"full", "lora", "qlora", "ia3", "adapter"},
    "ia3_targets": {"ia3"},
    "adapter_form": {"adapter"},
    "adapter_parts": {"adapter"},
    "adapter_size": {"adapter"},
    "virtual_tokens": {"prefix", "prompt", "ptuning"},
    "init_text": {"prefix", "prompt"},
    "encoder": {"prefix", "ptuning"},
    "encoder_size": {"prefix", "ptuning"},
}
VALUES = {name: value for own in OWN.values() for name, value in own.items()}
VALUES |= {"start": "continue", "layers": [0]}


def test_every_method_has_its_own_settings():
    assert set(OWN) == set(METHODS)
    for method, settings in OWN.items():
        TuningSection(method=method, **settings)


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("name", READERS)
def test_a_setting_that_does_nothing_with_the_method_is_refused(method, name):
    if method in READERS[name]:
        return
    with pytest.raises(ValidationError, match=f"{name} does nothing with method {method}"):
        TuningSection(method=method, **{name: VALUES[name]})


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"method": "prefix", "encoder": "lstm"}, "use none or mlp"),
        ({"method": "ptuning", "encoder": "none"}, "use mlp or lstm"),
        ({"method": "prefix", "encoder_size": 8}, "set encoder: mlp"),
        ({"method": "prefix", "encoder": "mlp", "init_text": "a"}, "exclude each other"),
        ({"method": "adapter", "adapter_parts": []}, "at least 1"),
        ({"lora_plus_ratio": 0.5}, "greater than or equal to 1"),
        ({"method": "prompt", "init_text": ""}, "at least 1"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(settings, hint):
    with pytest.raises(ValidationError, match=hint):
        TuningSection(**settings)


def test_an_empty_setting_says_nothing():
    section = TuningSection(method="prompt", layers=[], lora_options={}, parts=[], encoder=None)
    assert section.method == "prompt"


def test_one_name_stands_for_a_list_of_one():
    assert TuningSection(method="ia3", ia3_targets="q_proj").ia3_targets == ["q_proj"]
    assert TuningSection(method="adapter", adapter_parts="mlp").adapter_parts == ["mlp"]
