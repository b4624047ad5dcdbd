"""A record becomes the texts of its branches, and nothing is lost in silence."""

from __future__ import annotations

import pytest

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError, TemplateError
from danlu.records.record import Message, Record, Response
from danlu.sequences.branches import TurnText, record_turns, turns
from danlu.sequences.template import ChatTemplate

SETTINGS = SequencesSection()
LAST = SequencesSection(turns="last")


def record(*messages: Message, **fields) -> Record:
    return Record("r1", "test/turns", tuple(messages), **fields)


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str | None, weight: float = 1.0, **extra) -> Message:
    return Message("assistant", text, weight, extra)


TWO_TURNS = record(user("Q1"), assistant("A1"), user("Q2"), assistant("A2", 0.5))


@pytest.fixture(scope="module")
def chatml(tiny_tokenizer) -> ChatTemplate:
    return ChatTemplate.load(tiny_tokenizer)


def test_one_branch_for_each_assistant_turn(chatml):
    first = "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n"
    second = first + "A1<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"
    assert turns(TWO_TURNS, chatml, SETTINGS) == [
        TurnText(first, "A1<|im_end|>", 1, 0, 1.0),
        TurnText(second, "A2<|im_end|>", 3, 1, 0.5),
    ]
    assert turns(TWO_TURNS, chatml, LAST) == [TurnText(second, "A2<|im_end|>", 3, 0, 0.5)]


RETHINK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content is defined and loop.last %}({{ m.reasoning_content }})\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_that_strips_earlier_reasoning_is_right_by_construction(tokenizer_maker):
    """The second prompt has the first answer as it will be shown then: without its reasoning."""
    template = ChatTemplate.load(tokenizer_maker(RETHINK))
    thinking = record(
        user("Q1"),
        assistant("A1", reasoning_content="hm"),
        user("Q2"),
        assistant("A2", reasoning_content="so"),
    )
    one, two = turns(thinking, template, SETTINGS)
    assert one.completion_text == "(hm)\nA1<|im_end|>"
    assert two.completion_text == "(so)\nA2<|im_end|>"
    assert "A1<|im_end|>" in two.prompt_text
    assert "hm" not in two.prompt_text


def test_where_no_stop_token_is_written_eos_is_appended(tokenizer_maker):
    jinja = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    jinja += "{% if add_generation_prompt %}assistant: {% endif %}"
    template = ChatTemplate.load(tokenizer_maker(jinja))
    (turn,) = turns(record(user("Q"), assistant("A")), template, SETTINGS)
    assert turn.prompt_text == "user: Q\nassistant: "
    assert turn.completion_text == "A\n<|im_end|>"


def test_a_rendering_that_does_not_begin_with_its_prompt_is_refused(tokenizer_maker):
    jinja = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}"
    jinja += "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    template = ChatTemplate.load(tokenizer_maker(jinja))
    with pytest.raises(TemplateError) as caught:
        turns(record(user("Q"), assistant("Answer")), template, SETTINGS)
    assert caught.value.where == "record r1"
    assert "message 2" in caught.value.message
    assert (
        "After '[user]Q<|im_end|>[assistant]' the prompt goes on with '<think>', the rendering "
        "with the answer with 'Answer<|im_end|>'." in caught.value.message
    )


def test_what_the_template_says_is_passed_on(tokenizer_maker):
    jinja = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}<|im_end|>"
        "{% endfor %}"
    )
    template = ChatTemplate.load(tokenizer_maker(jinja))
    with pytest.raises(TemplateError, match=r"record r1: .*roles must alternate"):
        turns(record(user("Q"), user("Q"), assistant("A")), template, SETTINGS)


def test_any_role_that_the_template_renders(chatml):
    story = record(Message("narrator", "Snow fell."), Message("event", "A knock."), assistant("Oh"))
    (turn,) = turns(story, chatml, SETTINGS)
    assert turn.prompt_text.startswith(
        "<|im_start|>narrator\nSnow fell.<|im_end|>\n<|im_start|>event"
    )


PICKY = (
    "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}[{{ m.role }}]"
    "{{ m.content | tojson if m.role == 'user' else m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_a_message_that_the_template_leaves_out_is_not_lost_in_silence(tokenizer_maker):
    template = ChatTemplate.load(tokenizer_maker(PICKY))
    with pytest.raises(TemplateError, match=r"leaves message 1 out.*role 'narrator'"):
        turns(record(Message("narrator", "Snow."), user("Q"), assistant("A")), template, SETTINGS)
    # Quoted is not left out, nor is a message after the last answer asked for.
    (turn,) = turns(record(user('"Q"\n'), assistant("A")), template, SETTINGS)
    assert turn.prompt_text == '[user]"\\"Q\\"\\n"<|im_end|>[assistant]'


def test_tools_that_the_template_leaves_out_are_refused(chatml, tiny_tokenizer):
    tool = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    call = {"type": "function", "function": {"name": "clock", "arguments": {}}}
    with_tools = record(user("Q"), assistant("A"), tools=(tool,))
    with_calls = record(user("Q"), assistant(None, tool_calls=[call]))
    with pytest.raises(TemplateError, match="declares 1 tools"):
        turns(with_tools, chatml, SETTINGS)
    with pytest.raises(TemplateError, match="has tool calls"):
        turns(with_calls, chatml, SETTINGS)
    shipped = ChatTemplate.load(tiny_tokenizer, "chatml")
    assert "clock" in turns(with_tools, shipped, SETTINGS)[0].prompt_text
    (turn,) = turns(with_calls, shipped, SETTINGS)
    assert turn.completion_text == (
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><|im_end|>'
    )


def drops_of(chatml, one: Record, settings: SequencesSection = SETTINGS):
    drops = []
    texts = record_turns(one, chatml, settings, drops)
    return [turn.completion_text for turn in texts], [
        (drop.branch, drop.reason, drop.kept) for drop in drops
    ]


@pytest.mark.parametrize(
    ("one", "settings", "left"),
    [
        (record(user("Q")), SETTINGS, "no assistant turn"),
        (record(user("Q"), responses=(Response("A"),)), SETTINGS, "1 responses are for preference"),
        (record(user("Q"), assistant("A", 0.0)), SETTINGS, "has weight 0"),
        (record(user("Q"), assistant("A"), assistant("B", 0.0)), LAST, "has weight 0"),
        (record(user("Q"), assistant(" \n")), SETTINGS, "empty answer"),
        (record(assistant("Welcome!")), SETTINGS, "no prompt"),
    ],
)
def test_records_with_nothing_to_learn(chatml, one, settings, left):
    drops = []
    assert record_turns(one, chatml, settings, drops) == []
    assert [(drop.branch, drop.reason) for drop in drops] == [(None, "nothing to learn")]
    assert left in drops[0].detail


def test_turns_left_out_of_a_record_that_has_others(chatml):
    greeting = record(assistant("Hi!"), user("Q"), assistant(""), user("?"), assistant("A"))
    assert drops_of(chatml, greeting) == (
        ["A<|im_end|>"],
        [(0, "no prompt", False), (1, "empty answer", False)],
    )
    skipped = record(user("Q"), assistant("A", 0.0), user("Q"), assistant("B"))
    assert drops_of(chatml, skipped) == (["B<|im_end|>"], [])


def test_with_trained_prompts_a_turn_of_weight_0_stays_a_branch(chatml):
    skipped = record(user("Q"), assistant("A", 0.0), user("Q"), assistant("B"))
    settings = SequencesSection(train_on_prompt=True)
    assert [turn.weight for turn in turns(skipped, chatml, settings)] == [0.0, 1.0]


def test_an_answer_with_a_stop_token_inside_is_cut_and_noted(chatml):
    broken = record(user("Q"), assistant("A<|im_end|>\n<|im_start|>user\nmore"))
    assert drops_of(chatml, broken) == (["A<|im_end|>"], [(0, "cut at a stop token", True)])
    # A stop token that the data put after the answer itself costs nothing but itself.
    doubled = record(user("Q"), assistant("A<|im_end|>"))
    assert drops_of(chatml, doubled)[0] == ["A<|im_end|>"]


def test_plain_text_is_refused(chatml):
    document = record(Message("text", "The Yellow River"), source="rivers.txt")
    with pytest.raises(RecordError, match=r"record r1: .*plain text .* from rivers\.txt"):
        turns(document, chatml, SETTINGS)
    # A role of that name in a conversation is a role like any other.
    assert turns(record(Message("text", "A poem"), assistant("A")), chatml, SETTINGS)
