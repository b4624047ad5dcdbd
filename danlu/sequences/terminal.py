"""Explained branches in colour, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from danlu.sequences.explain import decode

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from transformers import PreTrainedTokenizerBase

TRAINED = "bold green"
SHARED = "cyan"
NOT_TRAINED = "dim"
BROKEN = "\ufffd"  # what decoding gives for a part of a character
LONGEST_CHARACTER = 8  # tokens; one UTF-8 character is at most four bytes, so at most four tokens


class Piece(NamedTuple):
    """Some tokens that make whole characters together."""

    start: int
    end: int
    text: str


def render_terminal(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    console: Console | None = None,
) -> None:
    """Print explained branches, one below another, with a legend before the first.

    Trained tokens are green, tokens shared with another branch of the record cyan (underlined if
    trained as well), all others dim; where there is no colour, trained stretches stand in ⟦ ⟧.

    Args:
        rows: From ``explain_rows``.
        tokenizer: As given there.
        console: Where to print; standard output if None.
    """
    from rich.console import Console

    console = console or Console(highlight=False)
    marked = console.color_system is None or console.no_color
    console.print(_legend(marked), soft_wrap=True)
    for row in rows:
        console.print()
        console.print(_heading(row), soft_wrap=True, highlight=False)
        console.print(branch_text(row, tokenizer, marked=marked), soft_wrap=True, highlight=False)


def branch_text(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, *, marked: bool = False
) -> Text:
    """Return one branch as styled text.

    Args:
        row: From ``explain_rows``.
        tokenizer: As given there.
        marked: Put trained stretches in ⟦ ⟧.
    """
    from rich.text import Text

    text = Text()
    was_trained = False
    for piece in pieces(tokenizer, row["input_ids"]):
        trained = any(row["weights"][piece.start : piece.end])
        shared = all(row["shared"][piece.start : piece.end])
        if marked and trained != was_trained:
            text.append("⟦" if trained else "⟧")
        style = TRAINED if trained else SHARED if shared else NOT_TRAINED
        text.append(visible(piece.text), f"{style} underline" if trained and shared else style)
        was_trained = trained
    if marked and was_trained:
        text.append("⟧")
    return text


def pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> Iterator[Piece]:
    """Split token ids into the smallest groups that decode to whole characters.

    A Chinese character may be several tokens. Each group is decoded after the one before it, since
    some tokenizers drop the space that begins a text.
    """
    before: list[int] = []
    start = 0
    while start < len(ids):
        for end in range(start + 1, min(start + LONGEST_CHARACTER, len(ids)) + 1):
            text = decode(tokenizer, before + ids[start:end])[len(decode(tokenizer, before)) :]
            if not text.endswith(BROKEN):
                break
        else:
            # Not text at all: show the broken bytes one token at a time.
            end = start + 1
            text = decode(tokenizer, before + ids[start:end])[len(decode(tokenizer, before)) :]
        yield Piece(start, end, text)
        before = ids[start:end]
        start = end


def visible(text: str) -> str:
    r"""Show line breaks, tabs and control characters, which a terminal would act on.

    Example:
        >>> print(visible("a\tb\x1b[0m\n"), end="")
        a⇥b␛[0m↵
    """
    return "".join(_VISIBLE.get(character, character) for character in text)


_VISIBLE = {
    **{chr(code): chr(0x2400 + code) for code in range(0x20)},
    **{chr(code): "␦" for code in range(0x7F, 0xA0)},
    "\n": "↵\n",
    "\t": "⇥",
}


def _legend(marked: bool) -> Text:
    from rich.text import Text

    legend = Text("Legend: ")
    legend.append("⟦trained⟧" if marked else "trained", TRAINED)
    legend.append("  not trained  ", NOT_TRAINED)
    if not marked:
        legend.append("shared with another branch of the record", SHARED)
        legend.append("  ")
        legend.append("both", f"{TRAINED} underline")
        legend.append("  ")
    legend.append("↵ line break", NOT_TRAINED)
    return legend


def _heading(row: Mapping[str, Any]) -> Text:
    from rich.text import Text

    trained = sorted(weight for weight in row["weights"] if weight)
    weights = ""
    if trained:
        low, high = f"{trained[0]:.4g}", f"{trained[-1]:.4g}"
        weights = f", weight {low}" if low == high else f", weights {low} to {high}"
    return Text.assemble(
        ("record ", "bold"),
        (visible(str(row["record"])), "bold"),
        f"  {visible(row['task_type'])}  branch {row['branch']}:  "
        f"{len(row['input_ids'])} tokens, {len(trained)} trained{weights}, "
        f"{sum(row['shared'])} shared",
        "".join(
            f", {name} {row[name]:g}" if name != "label" else f", thumbs {row[name]}"
            for name in ("rank", "score", "label")
            if row.get(name) is not None
        ),
    )
