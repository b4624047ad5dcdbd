"""The chat templates that come with Danlu, for base models that have none of their own.

A template is one Jinja file in ``templates/`` and one line in ``SHIPPED``. What depends on the
tokenizer (does a text begin with its BOS token, does it have the template's marks as tokens) is
settled here once and written in front of the file's text, so that the template saved with a model
stands on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from danlu.errors import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Shipped:
    """A shipped template.

    Attributes:
        name: As in ``model.template``, and the file's stem.
        summary: What a conversation looks like.
        marks: Tokens that the template writes and that should be whole in the vocabulary.
    """

    name: str
    summary: str
    marks: tuple[str, ...] = ()


SHIPPED = (
    Shipped("chatml", "<|im_start|>role … <|im_end|>, with tools", ("<|im_start|>", "<|im_end|>")),
    Shipped("alpaca", "### Instruction: … ### Response: …"),
    Shipped("vicuna", "USER: … ASSISTANT: …"),
    Shipped("human_assistant", "Human: … Assistant: …, a blank line before each"),
    Shipped("chatglm", "[Round 1] 问：… 答：…"),
    Shipped("belle", "Human: … Assistant: …, texts on lines of their own"),
    Shipped("baichuan", "reserved tokens before questions and answers"),
)
"""All shipped templates; ``model.template`` takes their names."""

BAICHUAN_MARKS = (("<reserved_106>", "<reserved_107>"), ("<reserved_102>", "<reserved_103>"))
"""Question and answer marks of Baichuan 2 and Baichuan 1."""

BAICHUAN_QUESTION_ID = 195
"""Both generations keep the question's mark at this id; the same names stand elsewhere in the other
generation's vocabulary. Source: ``user_token_id`` in the models' generation_config.json."""


def shipped_source(name: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, tuple[str, ...]]:
    """Return the Jinja text of a shipped template, fitted to a tokenizer, and notes on the fit.

    Raises:
        TemplateError: If the tokenizer has no end-of-sequence token to end answers with.
    """
    shipped = next(one for one in SHIPPED if one.name == name)
    if tokenizer.eos_token is None:
        raise TemplateError(
            f"The template {name} ends answers with the tokenizer's end-of-sequence token, and "
            "this tokenizer has none. Set eos_token in its tokenizer_config.json.",
            where="model.template",
        )
    head, marks = [], shipped.marks
    if adds_bos(tokenizer):
        head.append("{{- bos_token }}")
    if name == "chatml":
        end = "'<|im_end|>'" if is_whole_token(tokenizer, "<|im_end|>") else "eos_token"
        head.append(f"{{%- set answer_end = {end} %}}")
    if name == "baichuan":
        marks = _baichuan_marks(tokenizer)
        head.append(f"{{%- set user_token, assistant_token = '{marks[0]}', '{marks[1]}' %}}")
    notes = []
    if split := [mark for mark in marks if not is_whole_token(tokenizer, mark)]:
        notes.append(
            f"The tokenizer has no token {' or '.join(split)}: the template {name} spells it with "
            "several. List it in model.new_tokens to make it one."
        )
    text = resources.files("danlu.sequences").joinpath(f"templates/{name}.jinja").read_text("utf-8")
    return "\n".join([*head, text]), tuple(notes)


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer begins plain text with its BOS token."""
    if tokenizer.bos_token_id is None:
        return False
    ids: list[int] = tokenizer("a")["input_ids"]
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    return len(ids) > len(plain) and ids[0] == tokenizer.bos_token_id


def is_whole_token(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether the text, wherever it stands, becomes one token."""
    ids: list[int] = tokenizer("a" + text + "a", add_special_tokens=False)["input_ids"]
    token_id = tokenizer.convert_tokens_to_ids(text)
    return isinstance(token_id, int) and token_id != tokenizer.unk_token_id and token_id in ids


def _baichuan_marks(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    for marks in BAICHUAN_MARKS:
        if tokenizer.convert_tokens_to_ids(marks[0]) == BAICHUAN_QUESTION_ID:
            return marks
    for marks in BAICHUAN_MARKS:
        if all(is_whole_token(tokenizer, mark) for mark in marks):
            return marks
    return BAICHUAN_MARKS[0]
