"""Golden prompts: what a model was shown in training, to be compared wherever it is served.

A few conversations are rendered and tokenised when a model is saved, and kept beside it as
``golden.json``: text, token ids, and the tokens at which answers stop. Whoever serves the model
renders them again; a template that was changed, another tokenizer, or a lost stop token shows
before the first user meets it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import TemplateError
from danlu.sequences.encode import encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate

GOLDEN_FILE = "golden.json"
LAYOUT = 1

_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "城市"}},
                "required": ["city"],
            },
        },
    }
]
_EN, _ZH = {"role": "user", "content": "Who are you?"}, {"role": "user", "content": "你是谁？"}
_SYSTEM = {"role": "system", "content": "Answer in one sentence.  用一句话回答。"}
_SAID = {"role": "assistant", "content": "I am a model.\n\n1. 你好，世界！"}
CONVERSATIONS: tuple[tuple[list[dict[str, Any]], list[dict[str, Any]] | None], ...] = (
    ([_EN], None),
    ([_ZH], None),
    ([_SYSTEM, _ZH], None),
    ([_EN, _SAID, _ZH], None),
    ([_ZH], _TOOLS),
)


@dataclass(frozen=True)
class Golden:
    """One conversation as a model was shown it.

    Attributes:
        messages: The conversation, up to the answer wanted.
        tools: Tool declarations that were shown.
        text: As the template renders it.
        token_ids: As the tokenizer cuts it.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    text: str
    token_ids: list[int]


def make_golden(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> list[Golden]:
    """Render and tokenise what the template can show of a few conversations."""
    found = []
    for messages, tools in CONVERSATIONS:
        if tools and not template.probed.renders_tools:
            continue
        try:
            text = template.render(messages, tools, add_generation_prompt=True)
        except TemplateError:
            continue  # it has no system role, say
        found.append(Golden(messages, tools, text, encode_prompt(tokenizer, text)))
    return found


def write_golden(folder: Path, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> None:
    """Keep golden prompts beside a model that is being saved."""
    prompts = [vars(one) for one in make_golden(tokenizer, template)]
    about = {"layout": LAYOUT, "stop_ids": list(template.stop_ids), "prompts": prompts}
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (folder / GOLDEN_FILE).write_text(text + "\n", "utf-8")


def read_golden(folder: Path) -> tuple[list[Golden], list[int]]:
    """Return the golden prompts beside a model, none where there are none, and its stop tokens.

    Raises:
        TemplateError: If the file cannot be read.
    """
    file = folder / GOLDEN_FILE
    if not file.is_file():
        return [], []
    try:
        about = json.loads(file.read_text("utf-8"))
        return [Golden(**one) for one in about["prompts"]], list(about["stop_ids"])
    except (KeyError, TypeError, ValueError) as error:
        raise TemplateError(
            f"the golden prompts cannot be read ({error}): save the model again, or remove the "
            "file to serve it unchecked.",
            where=str(file),
        ) from error


def check_golden(folder: Path, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> int:
    """Render the golden prompts of a saved model again, and compare.

    Returns:
        How many there are; 0 for a model that was not saved by Danlu.

    Raises:
        TemplateError: At the first difference, saying where it is.
    """
    prompts, stop_ids = read_golden(folder)
    for golden in prompts:
        text = template.render(golden.messages, golden.tools, add_generation_prompt=True)
        found = encode_prompt(tokenizer, text)
        for difference in differences(tokenizer, golden, text, found):
            raise TemplateError(
                f"this model would not be asked as it was trained: {difference} Its template or "
                "tokenizer was changed since; put them back, or save the model anew.",
                where=str(folder / GOLDEN_FILE),
            )
    if missing := sorted(set(stop_ids) - set(template.stop_ids)):
        names = ", ".join(repr(_token(tokenizer, one)) for one in missing)
        raise TemplateError(
            f"answers were trained to stop at {names}, which no longer stops them. The template "
            "was changed since; put it back, or save the model anew.",
            where=str(folder / GOLDEN_FILE),
        )
    return len(prompts)


def differences(
    tokenizer: PreTrainedTokenizerBase, golden: Golden, text: str | None, token_ids: Sequence[int]
) -> Iterator[str]:
    """Say in words where a prompt differs from a golden one; nothing if it does not.

    Args:
        tokenizer: To write tokens out.
        golden: As it should be.
        text: As it is rendered now; None if only the tokens are known.
        token_ids: As they are now.
    """
    asked = golden.messages[-1]["content"]
    if text is not None and text != golden.text:
        place = next(
            (k for k, (a, b) in enumerate(zip(golden.text, text, strict=False)) if a != b),
            min(len(golden.text), len(text)),
        )
        was, now = golden.text[place : place + 30], text[place : place + 30]
        yield (
            f"the prompt for {asked!r} differs from character {place} on: it was {was!r}, and is "
            f"now {now!r}."
        )
    for place, (own, other) in enumerate(zip_longest(golden.token_ids, token_ids)):
        if own != other:
            yield (
                f"the prompt for {asked!r} differs from token {place} on: it was "
                f"{_shown(tokenizer, own)}, and is now {_shown(tokenizer, other)}."
            )
            return


def _shown(tokenizer: PreTrainedTokenizerBase, token_id: int | None) -> str:
    return "nothing" if token_id is None else f"{token_id} ({_token(tokenizer, token_id)!r})"


def _token(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    return str(tokenizer.decode([token_id]))
