"""The chat template renders as transformers does, and says clearly what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.errors import TemplateError
from danlu.records.record import Message
from danlu.sequences.shipped import SHIPPED
from danlu.sequences.template import ChatTemplate

ROUNDS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "你叫什么名字？"},
    {"role": "assistant", "content": "我叫丹炉。"},
]

END = "<|im_end|>"

# The conversation above, as each shipped template must write it; and its generation prompt.
SHIPPED_TEXTS = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\n你叫什么名字？<|im_end|>\n"
        "<|im_start|>assistant\n我叫丹炉。<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    "alpaca": (
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello!<|im_end|>\n\n"
        "### Instruction:\n你叫什么名字？\n\n### Response:\n我叫丹炉。<|im_end|>\n\n",
        "### Response:\n",
    ),
    "vicuna": (
        "Be brief. USER: Hi ASSISTANT: Hello!<|im_end|>"
        "USER: 你叫什么名字？ ASSISTANT: 我叫丹炉。<|im_end|>",
        "ASSISTANT:",
    ),
    "human_assistant": (
        "Be brief.\n\nHuman: Hi\n\nAssistant: Hello!<|im_end|>"
        "\n\nHuman: 你叫什么名字？\n\nAssistant: 我叫丹炉。<|im_end|>",
        "\n\nAssistant:",
    ),
    "chatglm": (
        "Be brief.\n[Round 1]\n问：Hi\n答：Hello!<|im_end|>\n"
        "[Round 2]\n问：你叫什么名字？\n答：我叫丹炉。<|im_end|>\n",
        "答：",
    ),
    "belle": (
        "Be brief.\n\nHuman: \nHi\n\nAssistant: \nHello!<|im_end|>"
        "Human: \n你叫什么名字？\n\nAssistant: \n我叫丹炉。<|im_end|>",
        "Assistant: \n",
    ),
    "baichuan": (
        "Be brief.<reserved_106>Hi<reserved_107>Hello!<|im_end|>"
        "<reserved_106>你叫什么名字？<reserved_107>我叫丹炉。<|im_end|>",
        "<reserved_107>",
    ),
}


@pytest.mark.parametrize("name", [shipped.name for shipped in SHIPPED])
def test_shipped_templates_write_exactly_this(tiny_tokenizer, name):
    template = ChatTemplate.load(tiny_tokenizer, name)
    text, generation_prompt = SHIPPED_TEXTS[name]
    assert template.render(ROUNDS) == text
    assert template.render(ROUNDS, None, True) == text + generation_prompt
    assert template.stop_tokens == (END,)
    assert template.stop_is_written


@pytest.mark.parametrize("name", [shipped.name for shipped in SHIPPED])
def test_shipped_templates_show_any_role_and_have_prompts_that_are_prefixes(tiny_tokenizer, name):
    template = ChatTemplate.load(tiny_tokenizer, name)
    story = [
        {"role": "background", "content": "A mountain."},
        {"role": "narrator", "content": "Snow fell."},
        {"role": "event", "content": "A knock."},
        {"role": "user", "content": "Who is there?"},
        {"role": "assistant", "content": "The wind."},
    ]
    full = template.render(story)
    for message in story:
        assert message["content"] in full
    assert full.startswith(template.render(story[:-1], None, True))


@pytest.mark.parametrize("name", [None, *SHIPPED_TEXTS])
def test_source_renders_the_same_in_transformers(tiny_tokenizer, name):
    """What is saved with the model stands on its own."""
    template = ChatTemplate.load(tiny_tokenizer, name)
    for ask in (False, True):
        expected = tiny_tokenizer.apply_chat_template(
            ROUNDS, chat_template=template.source, tokenize=False, add_generation_prompt=ask
        )
        assert template.render(ROUNDS, None, ask) == expected


# Written to use what chat templates use: loop values, namespaces, slices, filters, tests, loop
# controls, white-space rules, the generation tag, tools, and fields that may be missing or None.
RICH = """
{%- set ns = namespace(count=0, last=none) %}
{% if tools %}
    {%- for tool in tools %}
<tool {{ loop.index0 }}/{{ loop.length }}>{{ tool | tojson }}
    {%- endfor %}
{% endif %}
  {% for message in messages[::-1] %}
    {%- if message.role == 'user' and ns.last is none %}
        {%- set ns.last = loop.revindex0 %}
    {% endif %}
  {% endfor %}
{%- for message in messages %}
    {%- if message.role == 'secret' %}{% continue %}{% endif %}
    {%- set ns.count = ns.count + 1 %}
[{{ message['role'] | title }}{{ '!' if loop.first else '' }}{{ '.' if loop.last else ',' }}]
    {%- if message.reasoning_content is defined %}({{ message.reasoning_content }}){% endif %}
    {%- if message.role == 'assistant' %}
{% generation %}{{ (message.content or 'nothing') | trim }}{{ eos_token }}{% endgeneration %}

    {%- else %}
{{ message.content }}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
<call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson(indent=1) }}
    {%- endfor %}
{% endfor %}
{{ ns.count }} {{ ns.last }} {{ bos_token is defined }} {{ dict(a=1).a }} {{ documents is none }}
{% if add_generation_prompt %}[Assistant]{% endif %}"""

TOOLS = [{"type": "function", "function": {"name": "天气", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "天气", "arguments": {"city": "<Köln>&'\""}}}


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_renders_as_transformers_does(tokenizer_maker, tools, ask):
    tokenizer = tokenizer_maker(RICH)
    template = ChatTemplate.load(tokenizer)
    messages = [
        Message("user", " Hi \n").as_dict(),
        Message("secret", "not shown").as_dict(),
        Message("assistant", None, extra={"tool_calls": [CALL], "reasoning": "why"}).as_dict(),
        Message("tool", '{"t": 3}', extra={"tool_call_id": None, "name": "x"}).as_dict(),
        Message("assistant", "  It is cold. ").as_dict(),
    ]
    expected = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=ask
    )
    assert template.render(messages, tools, ask) == expected


THINKING = (
    "  {% if true %}x{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}[assistant]"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    "{% endif %}"
)


def test_options_are_written_into_the_source_and_can_be_overridden(tokenizer_maker):
    tokenizer = tokenizer_maker(THINKING)
    options = {"enable_thinking": False, "names": ["a", {"b": None, "c": "\n\"é'丹🐉"}], "n": 1.5}
    template = ChatTemplate.load(tokenizer, None, options)
    ask = [{"role": "user", "content": "Hi"}]
    assert template.render(ask, None, True) == "x[user]Hi<|im_end|>[assistant]<think></think>"

    def apply(**variables):
        return tokenizer.apply_chat_template(
            ask,
            chat_template=template.source,
            tokenize=False,
            add_generation_prompt=True,
            **variables,
        )

    assert apply() == template.render(ask, None, True)
    assert apply(enable_thinking=True) == "x[user]Hi<|im_end|>[assistant]"


def test_option_values_reach_the_template_unchanged(tokenizer_maker):
    value = {"b": None, "c": "\n\"é'丹🐉\\", "d": [True, -2]}
    tokenizer = tokenizer_maker(
        "{{ value | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    template = ChatTemplate.load(tokenizer, None, {"value": value})
    ask = [{"role": "user", "content": "Hi"}]
    assert template.render(ask) == '{"b": null, "c": "\\n\\"é\'丹🐉\\\\", "d": [true, -2]}Hi'
    assert template.render(ask) == tokenizer.apply_chat_template(
        ask, chat_template=template.source, tokenize=False
    )


def test_an_option_may_replace_a_special_token(tokenizer_maker):
    tokenizer = tokenizer_maker("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    template = ChatTemplate.load(tokenizer, None, {"eos_token": "<|endoftext|>"})
    ask = [{"role": "user", "content": "Hi"}]
    assert template.stop_tokens == ("<|endoftext|>",)
    assert template.render(ask) == "Hi<|endoftext|>"
    assert template.render(ask) == tokenizer.apply_chat_template(
        ask, chat_template=template.source, tokenize=False
    )


def test_a_file_will_do(tiny_tokenizer, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}")
    template = ChatTemplate.load(tiny_tokenizer, str(file))
    assert template.render([{"role": "user", "content": "炉"}]) == "<user>炉<|im_end|>"
    assert template.name == str(file)


def test_bos_is_written_by_shipped_templates_where_the_tokenizer_adds_it(tokenizer_maker):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_maker(None, bos_token="<|im_start|>", eos_token="<|endoftext|>")
    ask = [{"role": "user", "content": "Hi"}]
    assert ChatTemplate.load(tokenizer, "vicuna").render(ask, None, True) == "USER: Hi ASSISTANT:"

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    template = ChatTemplate.load(tokenizer, "vicuna")
    assert template.render(ask, None, True) == "<|im_start|>USER: Hi ASSISTANT:"
    assert template.notes == ()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    own = ChatTemplate.load(tokenizer)
    assert own.render(ask) == "Hi<|im_end|>"
    assert "without it" in own.notes[0]


def test_chatml_without_its_tokens_ends_answers_with_eos(tokenizer_maker):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    template = ChatTemplate.load(tokenizer, "chatml")
    assert template.render(ROUNDS[1:3]).endswith("assistant\nHello!</s>\n")
    assert template.stop_tokens == ("</s>",)
    assert "no token <|im_start|> or <|im_end|>" in template.notes[0]


def test_baichuan_takes_the_marks_of_either_generation(tokenizer_maker):
    """Both have the question's mark at id 195; Baichuan 1 calls it <reserved_102>."""
    tokenizer = tokenizer_maker(None)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<reserved_102>", "<reserved_103>"]}
    )
    template = ChatTemplate.load(tokenizer, "baichuan")
    assert template.render(ROUNDS[1:3]) == "<reserved_102>Hi<reserved_103>Hello!<|im_end|>"
    assert template.notes == ()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("chat_ml", "Did you mean 'chatml'"),
        ("zzz", "Allowed: alpaca"),
        ("gone/mine.jinja", "There is no file gone/mine.jinja"),
    ],
)
def test_unknown_templates(tiny_tokenizer, template, said):
    with pytest.raises(TemplateError, match=said) as caught:
        ChatTemplate.load(tiny_tokenizer, template)
    assert caught.value.where == "model.template"


@pytest.mark.parametrize(
    ("jinja", "said"),
    [
        (None, "has no chat template"),
        ("a\n{% for m in %}", "line 2: The chat template is not valid Jinja"),
        ("{{ raise_exception('only poems') }}", "cannot render a question.*only poems"),
        ("{{ messages[0].content + none }}", "cannot render a question"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "leaves the"),
        ("{{ ().__class__.__bases__ }}", "cannot render a question"),
        ("{% set n = namespace() %}{% set n._x = 1 %}", "may not set the attribute '_x'"),
        ({"a": "x", "b": "y"}, "several chat templates .a, b."),
    ],
)
def test_templates_that_cannot_be_used(tokenizer_maker, jinja, said):
    with pytest.raises(TemplateError, match=said):
        ChatTemplate.load(tokenizer_maker(jinja))


def test_the_default_of_several_templates_is_used_and_that_is_said(tokenizer_maker):
    base = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    template = ChatTemplate.load(tokenizer_maker({"default": base, "rag": base}))
    assert template.source == base
    assert template.notes == ("The tokenizer's template 'default' is used; it has others: rag.",)


@pytest.mark.parametrize("options", [{"when": Path("x")}, {"a-b": 1}])
def test_options_that_no_template_can_read(tiny_tokenizer, options):
    with pytest.raises(TemplateError, match="template"):
        ChatTemplate.load(tiny_tokenizer, None, options)


def test_a_date_in_the_text_is_pointed_out(tokenizer_maker):
    dated = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%Y') %}{% endif %}"
        "{{ date_string }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    template = ChatTemplate.load(tokenizer_maker(dated), None, {"date_string": "1999"})
    assert template.render([{"role": "user", "content": "?"}]) == "1999?<|im_end|>"
    assert "differ from day to day" in template.notes[0]
