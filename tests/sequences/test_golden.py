"""Golden prompts: the same model is served, or the difference is named."""

import json

import pytest

from danlu.errors import TemplateError
from danlu.models.save import save_model
from danlu.sequences.golden import GOLDEN_FILE, check_golden, make_golden, read_golden
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama


@pytest.fixture
def saved(tiny_tokenizer, tmp_path):
    template = ChatTemplate.load(tiny_tokenizer)
    return save_model(tiny_llama(), tiny_tokenizer, template, tmp_path)


def test_a_saved_model_carries_what_it_was_shown(saved, tiny_tokenizer):
    prompts, stop_ids = read_golden(saved)
    template = ChatTemplate.load(tiny_tokenizer)
    assert [golden.messages[-1]["content"] for golden in prompts] == [
        "Who are you?",
        "你是谁？",
        "你是谁？",
        "你是谁？",
    ]
    assert prompts[1].text == "<|im_start|>user\n你是谁？<|im_end|>\n<|im_start|>assistant\n"
    assert tiny_tokenizer.decode(prompts[1].token_ids) == prompts[1].text
    assert stop_ids == list(template.stop_ids)
    assert check_golden(saved, tiny_tokenizer, template) == 4


def test_a_changed_template_is_named_at_its_character(saved, tiny_tokenizer, tokenizer_maker):
    changed = tiny_tokenizer.chat_template.replace("assistant\n", "assistant:\n")
    tokenizer = tokenizer_maker(changed)
    with pytest.raises(TemplateError, match=r"from character \d+ on: it was '\\n'.*now ':\\n'"):
        check_golden(saved, tokenizer, ChatTemplate.load(tokenizer))


def test_another_cut_is_named_at_its_token(saved, tiny_tokenizer):
    file = saved / GOLDEN_FILE
    about = json.loads(file.read_text())
    about["prompts"][0]["token_ids"][2] = 7
    file.write_text(json.dumps(about))
    with pytest.raises(
        TemplateError, match=r"differs from token 2 on: it was 7 \('.'\), and is now"
    ):
        check_golden(saved, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))


def test_a_lost_stop_token_is_named(saved, tiny_tokenizer):
    file = saved / GOLDEN_FILE
    about = json.loads(file.read_text())
    about["stop_ids"].append(0)
    file.write_text(json.dumps(about))
    with pytest.raises(TemplateError, match=r"trained to stop at '<\|endoftext\|>'"):
        check_golden(saved, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))


def test_models_of_others_are_not_held_to_anything(tmp_path, tiny_tokenizer):
    assert check_golden(tmp_path, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer)) == 0
    (tmp_path / GOLDEN_FILE).write_text("{}")
    with pytest.raises(TemplateError, match="cannot be read"):
        read_golden(tmp_path)


@pytest.mark.npm
def test_tools_are_among_them_where_the_template_shows_them(npm_tokenizer):
    tokenizer = npm_tokenizer("qwen3")
    found = make_golden(tokenizer, ChatTemplate.load(tokenizer))
    assert len(found) == 5
    assert '"name": "weather"' in found[-1].text
