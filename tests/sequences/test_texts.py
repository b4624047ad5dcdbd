"""Texts to be classified: rendered as for asking, or plain with the tokenizer's own tokens."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError, TemplateError
from danlu.records.record import Message, Record
from danlu.sequences.prompts import prepare_prompts
from danlu.sequences.template import ChatTemplate
from danlu.sequences.texts import TextEncoder
from tests.tiny_encoder import word_tokenizer


def text(content: str, pair: Any = None, **meta: Any) -> Record:
    given = {**meta, **({} if pair is None else {"text_pair": pair})}
    return Record("r", "a/b", (Message("text", content),), meta=given)


def conversation(*contents: str, **meta: Any) -> Record:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[k % 2], one) for k, one in enumerate(contents))
    return Record("r", "a/b", messages, meta=meta)


def encoder(tokenizer: Any, template: bool = False, **settings: Any) -> TextEncoder:
    loaded = ChatTemplate.load(tokenizer) if template else None
    return TextEncoder(tokenizer, loaded, SequencesSection(**settings))


def shown(tokenizer: Any, one: TextEncoder, record: Record) -> str:
    [encoded] = one.encode([record], [])
    assert encoded is not None
    return tokenizer.decode(encoded.ids)


def test_with_a_template_a_text_is_asked(tiny_tokenizer):
    one = encoder(tiny_tokenizer, template=True)
    start, end = "<|im_start|>", "<|im_end|>\n"
    asked = f"{start}user\nIs it red?{end}{start}assistant\n"
    for record in (
        text("Is it red?", label="yes"),
        conversation("Is it red?", "yes"),
        conversation("Is it red?", label="yes"),
    ):
        assert shown(tiny_tokenizer, one, record) == asked
    both = shown(tiny_tokenizer, one, text("It is red.", "Is it hot?"))
    assert both == f"{start}user\nIt is red.\n\nIs it hot?{end}{start}assistant\n"
    judged = shown(tiny_tokenizer, one, conversation("Hi", "Go away", label="rude"))
    assert judged.endswith(f"{start}assistant\nGo away{end}{start}assistant\n")


def test_it_is_the_prompt_that_a_model_is_trained_on_to_answer(tiny_tokenizer):
    template = ChatTemplate.load(tiny_tokenizer)
    record = conversation("What is the name?", "a", "的 furnace?", "yes")
    prompts = prepare_prompts([record], tiny_tokenizer, template, SequencesSection(), 4)
    [ours] = encoder(tiny_tokenizer, template=True).encode([record], [])
    assert ours.ids.tolist() == prompts.input_ids.tolist()
    assert ours.first == len(ours.ids)


def test_an_encoder_reads_a_text_or_a_pair_with_its_own_tokens():
    tokenizer = word_tokenizer()
    one = encoder(tokenizer)
    assert shown(tokenizer, one, text("the fire")) == "[CLS] the fire [SEP]"
    [pair] = one.encode([text("the fire", "is red ?")], [])
    assert tokenizer.decode(pair.ids) == "[CLS] the fire [SEP] is red ? [SEP]"
    assert pair.first == 4
    [judged] = one.encode([conversation("the fire", "is red", label="x")], [])
    assert judged.first == 4
    assert judged.ids.tolist() == tokenizer("the fire", "is red")["input_ids"]


def test_many_at_once_come_in_their_order():
    tokenizer = word_tokenizer()
    records = [text("fire"), text("iron", "red"), text("gold", ""), text("hot", "the fire")]
    found = encoder(tokenizer).encode(records, [])
    said = [tokenizer.decode(one.ids) for one in found]
    assert said == [
        "[CLS] fire [SEP]",
        "[CLS] iron [SEP] red [SEP]",
        "[CLS] gold [SEP]",
        "[CLS] hot [SEP] the fire [SEP]",
    ]


def test_without_tokens_between_a_blank_line_keeps_two_texts_apart(tokenizer_maker):
    tokenizer = tokenizer_maker(None)
    one = encoder(tokenizer)
    assert not one.has_pairs
    assert shown(tokenizer, one, text("the fire", "is red")) == "the fire\n\nis red"


def test_more_than_two_texts_need_a_template():
    with pytest.raises(RecordError, match="record r: it has 3 messages"):
        encoder(word_tokenizer()).encode([conversation("a", "b", "c")], [])
    with pytest.raises(RecordError, match="text_pair is 5; it must be text"):
        encoder(word_tokenizer()).encode([text("a", 5)], [])


@pytest.mark.parametrize("template", [False, True])
def test_a_text_that_is_cut_loses_its_beginning(tokenizer_maker, template):
    tokenizer = tokenizer_maker() if template else word_tokenizer()
    long = text("the fire is hot " * 4 + "red")
    limit = {"max_length": 20 if template else 8, "overlong": "truncate_prompt_left"}
    drops: list[Any] = []
    [cut] = encoder(tokenizer, template, **limit).encode([long], drops)
    assert len(cut.ids) == limit["max_length"]
    said = tokenizer.decode(cut.ids)
    if template:
        assert said.endswith("red<|im_end|>\n<|im_start|>assistant\n")
    else:
        assert said == "[CLS] hot the fire is hot red [SEP]"
    assert tokenizer.truncation_side == "right"
    assert [(drop.reason, drop.kept) for drop in drops] == [("prompt truncated", True)]
    [none] = encoder(tokenizer, template, **{**limit, "overlong": "drop"}).encode([long], drops)
    assert none is None
    assert (drops[1].reason, drops[1].kept) == ("overlong", False)


def test_a_tokenizer_that_puts_the_second_text_first_is_refused():
    from tokenizers import processors

    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0",
        pair="$B:1 [SEP]:1 [CLS]:0 $A:0",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    with pytest.raises(TemplateError, match="another order"):
        encoder(tokenizer).encode([text("the fire", "is red")], [])
