"""Stop tokens are read off the template, for answers and for tool calls."""

from __future__ import annotations

import pytest

from danlu.errors import TemplateError
from danlu.sequences.template import ChatTemplate

TURN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
CALLS = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }}:{{ c.function.arguments | tojson }}</call>{% endfor %}"
)


@pytest.mark.parametrize(
    ("jinja", "stop", "tails"),
    [
        (TURN + "<|im_end|>\n{% endfor %}", "<|im_end|>", {"\n"}),
        (TURN + " <|endoftext|>{% endfor %}", "<|endoftext|>", {""}),
        (TURN + "{{ eos_token }}{% endfor %}", "<|im_end|>", {""}),
    ],
)
def test_the_special_token_after_the_answer(tokenizer_maker, jinja, stop, tails):
    tokenizer = tokenizer_maker(jinja)
    template = ChatTemplate.load(tokenizer)
    assert template.stop_tokens == (stop,)
    assert template.stop_ids == (tokenizer.convert_tokens_to_ids(stop),)
    assert template.probed.tails == tails
    assert template.stop_is_written
    assert template.notes == ()


def test_an_end_token_that_is_not_marked_special_counts(tokenizer_maker):
    tokenizer = tokenizer_maker(TURN + "<end>{% endfor %}")
    tokenizer.add_tokens(["<end>"])
    assert ChatTemplate.load(tokenizer).stop_tokens == ("<end>",)


def test_where_none_is_written_eos_is_appended_and_that_is_said(tokenizer_maker):
    template = ChatTemplate.load(tokenizer_maker(TURN + "\n{% endfor %}"))
    assert template.stop_tokens == ("<|im_end|>",)
    assert not template.stop_is_written
    assert "<|im_end|> is appended to completions" in template.notes[0]


def test_no_stop_token_at_all(tokenizer_maker):
    tokenizer = tokenizer_maker(TURN + "\n{% endfor %}", eos_token=None)
    with pytest.raises(TemplateError, match="could not stop"):
        ChatTemplate.load(tokenizer)
    with pytest.raises(TemplateError, match="this tokenizer has none"):
        ChatTemplate.load(tokenizer, "alpaca")


def test_a_system_message_that_the_template_demands(tokenizer_maker):
    jinja = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}"
        + TURN
        + "<|im_end|>{% endfor %}"
    )
    assert ChatTemplate.load(tokenizer_maker(jinja)).stop_tokens == ("<|im_end|>",)


def test_tool_calls_may_stop_at_another_token(tokenizer_maker):
    jinja = CALLS + "{{ '<|endoftext|>' if m.tool_calls else '<|im_end|>' }}\n{% endfor %}"
    template = ChatTemplate.load(tokenizer_maker(jinja))
    assert template.probed.call_stop == "<|endoftext|>"
    assert template.stop_tokens == ("<|im_end|>", "<|endoftext|>")


def test_special_tokens_that_close_a_call_are_not_its_end(tokenizer_maker):
    tokenizer = tokenizer_maker(CALLS + "<|im_end|>\n{% endfor %}")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<call>", "</call>"]})
    assert ChatTemplate.load(tokenizer).probed.call_stop == "<|im_end|>"


def test_calls_that_end_with_nothing_are_pointed_out(tokenizer_maker):
    jinja = CALLS + "{{ '' if m.tool_calls else '<|im_end|>' }}{% endfor %}"
    template = ChatTemplate.load(tokenizer_maker(jinja))
    assert template.probed.call_stop is None
    assert "no token after tool calls" in template.notes[0]


@pytest.mark.parametrize(
    ("jinja", "arguments", "content_required"),
    [
        ("{{ c.function.arguments | tojson }}", "object", False),
        ("{{ '' + c.function.arguments }}", "text", False),
        (
            "{{ c.function.arguments if c.function.arguments is string "
            "else c.function.arguments | tojson }}",
            "as given",
            False,
        ),
        ("{{ c.function.arguments | tojson }}{{ m.content.strip() }}", "object", True),
    ],
)
def test_tool_calls_are_given_as_the_template_needs_them(
    tokenizer_maker, jinja, arguments, content_required
):
    jinja = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "<{{ c.function.name }}>" + jinja + "{% endfor %}<|im_end|>{% endfor %}"
    )
    template = ChatTemplate.load(tokenizer_maker(jinja))
    assert template.probed.renders_calls
    assert template.probed.arguments == arguments
    assert template.probed.content_required == content_required
    for given in ({"a": "ü"}, '{"a": "ü"}'):
        call = {"type": "function", "function": {"name": "f", "arguments": given}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        assert template.render([message]) == '<f>{"a": "ü"}<|im_end|>'


def test_arguments_that_are_not_json(tokenizer_maker):
    template = ChatTemplate.load(tokenizer_maker(CALLS + "<|im_end|>{% endfor %}"))
    call = {"function": {"name": "f", "arguments": "{oops"}}
    with pytest.raises(TemplateError, match="is not JSON"):
        template.render([{"role": "assistant", "tool_calls": [call]}])


@pytest.mark.parametrize(
    ("name", "tools", "calls"), [("chatml", True, True), ("alpaca", False, False)]
)
def test_what_a_template_can_show(tiny_tokenizer, name, tools, calls):
    probed = ChatTemplate.load(tiny_tokenizer, name).probed
    assert (probed.renders_tools, probed.renders_calls) == (tools, calls)
