"""Real tokenizers and templates, against the definition written down without haste."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.config.recipe import SequencesSection
from danlu.errors import TemplateError
from danlu.records.record import Message, Record
from danlu.sequences.encode import Encoder
from danlu.sequences.explain import explain_rows
from danlu.sequences.prepare import prepare
from danlu.sequences.template import ChatTemplate

pytestmark = pytest.mark.npm

STOPS = {"qwen3": "<|im_end|>", "llama3_1": "<|eot_id|>"}

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "天气 in a <place>",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}


def call(arguments: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"tool_calls": [{"type": "function", "function": function}]}


CONVERSATIONS: dict[str, list[Message]] = {
    "plain": [
        Message("system", "Be brief. "),
        Message("user", "What is 12 + 30?\n"),
        Message("assistant", "42"),
        Message("user", "用中文再说一遍"),
        Message("assistant", "四十二。\n\n"),
    ],
    "reasoning in the text": [
        Message("user", "2 + 2?"),
        Message("assistant", "<think>\nTwo and two.\n</think>\n\n4"),
        Message("user", "And 3 more?"),
        Message("assistant", "<think>\nFour and three.\n</think>\n\n7"),
    ],
    "reasoning in a field": [
        Message("user", "2 + 2?"),
        Message("assistant", "4", extra={"reasoning_content": "Two and two."}),
        Message("user", "And 3 more?"),
        Message("assistant", "7"),
    ],
    "white space": [
        Message("user", "\n Hi\t"),
        Message("assistant", "  Hello 🐉  "),
        Message("user", ""),
        Message("assistant", "\nStill there?"),
    ],
}

TOOL_CONVERSATION = [
    Message("user", "Weather in Köln and 北京?"),
    Message("assistant", None, extra=call({"place": "Köln"})),
    Message("tool", '{"t": 3}'),
    Message("assistant", "", extra=call('{"place": "北京"}')),
    Message("tool", '{"t": 5}'),
    Message("assistant", "3 and 5 degrees."),
]


def definition(record: Record, tokenizer: Any, stop: str) -> list[dict[str, Any]]:
    """Prompt and completion of each assistant turn, by ``apply_chat_template`` and plain calls."""
    messages = [
        {**message.as_dict(), "content": message.content or ""} for message in record.messages
    ]
    tools = list(record.tools) or None

    def render(upto: int, ask: bool) -> str:
        text: str = tokenizer.apply_chat_template(
            messages[:upto], tools=tools, tokenize=False, add_generation_prompt=ask
        )
        return text

    rows = []
    for k, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt, full = render(k, True), render(k + 1, False)
            assert full.startswith(prompt)
            completion = full[len(prompt) : full.index(stop, len(prompt)) + len(stop)]
            ids = [
                tokenizer(text, add_special_tokens=False)["input_ids"]
                for text in (prompt, completion)
            ]
            rows.append(
                {
                    "prompt_text": prompt,
                    "completion_text": completion,
                    "input_ids": ids[0] + ids[1],
                    "weights": [0.0] * len(ids[0]) + [1.0] * len(ids[1]),
                }
            )
    return rows


def explained(records: list[Record], tokenizer: Any, template: ChatTemplate, **options: Any):
    section = SequencesSection(**options)
    prepared = prepare(records, tokenizer, template, section)
    assert prepared.drops == ()
    return list(explain_rows(prepared, records, tokenizer, template, section))


def assert_defined(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(rows) == len(expected)
    for row, one in zip(rows, expected, strict=True):
        assert {name: row[name] for name in one} == one


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", STOPS)
def test_branches_are_what_the_definition_says(npm_tokenizer, name, conversation):
    tokenizer = npm_tokenizer(name)
    template = ChatTemplate.load(tokenizer)
    assert template.stop_tokens == (STOPS[name],)
    assert template.notes == ()
    record = Record("r", "a/b", tuple(CONVERSATIONS[conversation]))
    rows = explained([record], tokenizer, template)
    assert_defined(rows, definition(record, tokenizer, STOPS[name]))


def test_qwen3_strips_reasoning_from_history_and_the_branches_follow(npm_tokenizer):
    """The first answer is trained with its reasoning; the second prompt has it without."""
    tokenizer = npm_tokenizer("qwen3")
    record = Record("r", "a/b", tuple(CONVERSATIONS["reasoning in the text"]))
    one, two = explained([record], tokenizer, ChatTemplate.load(tokenizer))
    assert one["completion_text"] == "<think>\nTwo and two.\n</think>\n\n4<|im_end|>"
    assert two["prompt_text"] == (
        "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\nAnd 3 more?<|im_end|>\n<|im_start|>assistant\n"
    )
    # They part right where the reasoning would begin.
    assert sum(two["shared"]) == one["prompt_tokens"]
    assert one["input_ids"][one["prompt_tokens"]] == tokenizer.convert_tokens_to_ids("<think>")
    trained = explained([record], tokenizer, ChatTemplate.load(tokenizer), train_on_prompt=True)
    new = [weight > 0 for weight in trained[1]["weights"]]
    assert new == [t >= one["prompt_tokens"] for t in range(len(new))]


def test_qwen3_tool_calls(npm_tokenizer):
    """Arguments as an object or as JSON text, content None or empty: each as the data have it."""
    tokenizer = npm_tokenizer("qwen3")
    record = Record("r", "a/b", tuple(TOOL_CONVERSATION), (TOOL,))
    rows = explained([record], tokenizer, ChatTemplate.load(tokenizer))
    assert_defined(rows, definition(record, tokenizer, "<|im_end|>"))
    assert [row["completion_text"].count("<tool_call>") for row in rows] == [1, 1, 0]
    assert "<tool_response>" in rows[2]["prompt_text"]


def test_qwen3_without_thinking(npm_tokenizer):
    tokenizer = npm_tokenizer("qwen3")
    template = ChatTemplate.load(tokenizer, None, {"enable_thinking": False})
    record = Record("r", "a/b", tuple(CONVERSATIONS["plain"]))
    for row in explained([record], tokenizer, template):
        assert row["prompt_text"].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
        assert "<think>" not in row["completion_text"]
    thinking = Record("r", "a/b", tuple(CONVERSATIONS["reasoning in the text"]))
    with pytest.raises(TemplateError, match=r"record r: .*enable_thinking must fit the data"):
        prepare([thinking], tokenizer, template, SequencesSection())


def test_qwen3_shows_an_answer_differently_once_another_follows(npm_tokenizer):
    """The first answer has an empty reasoning block while it is the last message, then none."""
    tokenizer = npm_tokenizer("qwen3")
    twice = (Message("user", "Hi"), Message("assistant", "Hello"), Message("assistant", "There?"))
    with pytest.raises(TemplateError, match=r"message 3: .*join them into one"):
        prepare(
            [Record("r", "a/b", twice)], tokenizer, ChatTemplate.load(tokenizer), SequencesSection()
        )


def test_qwen3_leaves_unknown_roles_out_and_that_is_refused(npm_tokenizer):
    tokenizer = npm_tokenizer("qwen3")
    story = (Message("narrator", "Snow."), Message("user", "Hi"), Message("assistant", "Yo"))
    with pytest.raises(TemplateError, match="leaves message 1 out"):
        prepare(
            [Record("r", "a/b", story)], tokenizer, ChatTemplate.load(tokenizer), SequencesSection()
        )
    prepare(
        [Record("r", "a/b", story)],
        tokenizer,
        ChatTemplate.load(tokenizer, "chatml"),
        SequencesSection(),
    )


def test_llama_tool_calls(npm_tokenizer):
    """The packaged template shows no tools, which is said; one that shows them is exact."""
    tokenizer = npm_tokenizer("llama3_1")
    record = Record("r", "a/b", tuple(TOOL_CONVERSATION), (TOOL,))
    with pytest.raises(TemplateError, match="declares 1 tools, which the chat template"):
        prepare([record], tokenizer, ChatTemplate.load(tokenizer), SequencesSection())
    calls = Record("r", "a/b", tuple(TOOL_CONVERSATION))
    with pytest.raises(TemplateError, match="has tool calls"):
        prepare([calls], tokenizer, ChatTemplate.load(tokenizer), SequencesSection())

    # Calls under a mark of their own, ended by another token than answers.
    marks = ["<|reserved_special_token_4|>", "<|reserved_special_token_5|>"]
    jinja = (
        "{{ bos_token }}{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% for c in m.tool_calls or [] %}" + marks[1] + "{{ c.function.name }}("
        "{{ c.function.arguments | tojson }}){% endfor %}{{ m.content }}"
        "{{ '" + marks[0] + "' if m.tool_calls else '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    own, tokenizer.chat_template = tokenizer.chat_template, jinja
    try:
        template = ChatTemplate.load(tokenizer)
    finally:
        tokenizer.chat_template = own
    assert template.stop_tokens == ("<|eot_id|>", marks[0])
    rows = explained([record], tokenizer, template)
    assert [row["completion_text"] for row in rows] == [
        f'{marks[1]}get_weather({{"place": "Köln"}}){marks[0]}',
        f'{marks[1]}get_weather({{"place": "北京"}}){marks[0]}',
        "3 and 5 degrees.<|eot_id|>",
    ]
    for row in rows:
        assert row["input_ids"][-1] in template.stop_ids
        assert json.loads(json.dumps(row)) == row


words = st.sampled_from(
    [
        "Hello",
        " ",
        "\n",
        "\n\n",
        "'s",
        "123",
        "丹炉",
        "é",
        "🐉",
        "<|im_",
        "<think>",
        "1 2",
        "\t",
        "e\u0301",
    ]
)
text = st.lists(words, min_size=1, max_size=6).map("".join)


@pytest.mark.parametrize("name", STOPS)
@settings(max_examples=40, deadline=None)
@given(turns=st.lists(st.tuples(text, text), min_size=1, max_size=5))
def test_encoding_by_pieces_equals_the_plain_way(npm_tokenizer, name, turns):
    """Long conversations are encoded piece by piece: the same ids as each text alone."""
    tokenizer = npm_tokenizer(name)
    template = ChatTemplate.load(tokenizer)
    encoder = Encoder(tokenizer, boundary=template.stop_tokens[0])
    assert encoder.boundary == STOPS[name]
    messages = [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
    texts = [template.render(messages[:k], None, bool(k % 2)) for k in range(1, len(messages) + 1)]
    ids, offsets = encoder.encode(texts)
    for i, whole in enumerate(texts):
        expected = tokenizer(whole, add_special_tokens=False)["input_ids"]
        np.testing.assert_array_equal(ids[offsets[i] : offsets[i + 1]], expected)
