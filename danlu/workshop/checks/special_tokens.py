"""Special tokens inside content: a model's own, and those of the known families in any case.

In content they are read as borders: a prompt ends where it should not, an answer teaches to write
another turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from danlu.workshop.checks.check import Rule, Running
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord, shown
from danlu.workshop.checks.view import View

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# <|im_start|> of ChatML and all of that form, DeepSeek's <｜User｜>, Gemma's, Llama 2's, Mistral's.
_CONTROL = re.compile(
    r"<\|[a-zA-Z][\w-]{1,30}\|>|<｜[^｜<>\n]{1,30}｜>|</?(?:start_of_turn|end_of_turn)>|\[/?INST\]"
    r"|<</?SYS>>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]|<\[SEP\]>"
    r"|</s>|<(?:bos|eos|unused\d+|reserved_\d+)>|\[gMASK\]|<[sg]op>"
)
_AMBIGUOUS = re.compile(r"<(?:s|pad|unk|mask|cls|sep)>|\[(?:PAD|UNK|MASK|CLS|SEP|BOS|EOS)\]")
_ROLE_LINE = re.compile(
    r"^(?:### ?(?:Human|Assistant|Instruction|Response|User|指令|回答)|Human|Assistant"
    r"|USER|ASSISTANT|用户|助手)[:：]",
    re.MULTILINE,
)
_HTML_STRUCK = "</s>"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Finds special tokens and marks of roles in any message."""

    name: ClassVar[str] = "special_tokens"
    finds: ClassVar[str] = "special tokens and marks of roles inside content"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "control_token",
            "fault",
            "a control token of a known family (<|im_start|>, </s>, [INST] …) stands in the text",
            "Cut it out; if it ends every answer, the data were rendered already.",
        ),
        Rule(
            "own_token",
            "fault",
            "a special token of the model given stands in the text",
            "Cut it out, or escape it: it would be read as a border.",
        ),
        Rule(
            "ambiguous_token",
            "attention",
            "what is a special token to some models stands in the text (<s>, [MASK] …)",
            "Look whether it is meant as text.",
        ),
        Rule(
            "role_mark",
            "attention",
            "a line of an answer begins as another turn does (Human:, ### Response:, 用户：)",
            "Cut the answer there, or split the conversation into its turns.",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin, with the special tokens of the tokenizer where there is one."""
        own = None if context.tokenizer is None else _pattern(context.tokenizer)
        return PerRecord(self, partial(_look, own))


def _pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    tokens = {str(token) for token in tokenizer.all_special_tokens}
    tokens |= {str(one) for one in tokenizer.added_tokens_decoder.values() if one.special}
    return (
        re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
        if tokens
        else None
    )


def _look(own: re.Pattern[str] | None, view: View) -> Iterator[Hit]:
    text = view.whole
    if own is not None and (found := own.search(text)):
        yield _hit("own_token", view, text, found)
    if "<" in text or "[" in text:
        found = _CONTROL.search(text)
        # Struck text of HTML: <s>old</s>.
        if found and not (found[0] == _HTML_STRUCK and "<s>" in text[: found.start()]):
            yield _hit("control_token", view, text, found)
        elif found := _AMBIGUOUS.search(text):
            yield _hit("ambiguous_token", view, text, found)
    for turn in view.turns:
        if (":" in turn.answer or "：" in turn.answer) and (found := _role(turn.answer)):
            place = f"{view.name_of(turn.index)}: {shown(turn.answer, *found.span())}"
            yield Hit("role_mark", found[0], detail=place)


def _role(answer: str) -> re.Match[str] | None:
    """Find a mark of the user's turn, or a second one of any; a dialogue that was asked for passes.

    A single mark at the very beginning is the answer's own, wrongly kept.
    """
    found = [*_ROLE_LINE.finditer(answer)]
    return found[0] if len(found) == 1 else None


def _hit(rule: str, view: View, text: str, found: re.Match[str]) -> Hit:
    place = f"{view.place(found.start())}: {shown(text, *found.span())}"
    return Hit(rule, found[0], detail=place)
