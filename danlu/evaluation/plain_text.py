"""Cross-entropy on plain text: what a model still knows that nobody asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import EvaluationError
from danlu.evaluation.gate import TextScores
from danlu.evaluation.suites import load_suite
from danlu.records import read_records
from danlu.records.record import TEXT_ROLE, Message

if TYPE_CHECKING:
    from danlu.evaluation.likelihood.forest import LikelihoodModel

SHIPPED = "plain text (shipped)"
LONGEST_CHARACTERS = 6000
"""A longer document is cut into parts of about this length, at ends of paragraphs or sentences."""
_BREAKS = ("\n\n", "\n", "。", ". ", " ")


def shipped_text() -> list[str]:
    """Return the documents of the suite ``plain-text``: English and Chinese, of many subjects."""
    return [str(item.messages[0]["content"]) for item in load_suite("plain-text").items]


def read_text(path: str | Path) -> list[str]:
    """Read documents: a text file is cut at blank lines, records give their texts.

    Raises:
        EvaluationError: If there are fewer than two.
        RecordError: If a data file cannot be read.
    """
    place = Path(path)
    if place.suffix in (".txt", ".md"):
        if not place.is_file():
            raise EvaluationError("there is no such file.", where=str(path))
        text = place.read_text("utf-8", errors="replace")
        found = [part.strip() for part in text.split("\n\n") if part.strip()]
    else:
        found = [
            "\n".join(one.content or "" for one in record.messages) for record in read_records(path)
        ]
    parts = [part for document in found for part in _parts(document)]
    if len(parts) < 2:
        raise EvaluationError(
            "holds fewer than two documents; separate them by blank lines, or give a file of "
            "records.",
            where=str(path),
        )
    return parts


def score_text(
    documents: Sequence[str],
    models: Iterable[Callable[[], LikelihoodModel]],
    *,
    source: str = SHIPPED,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> TextScores:
    """Let two versions predict the same documents, one model held at a time.

    Args:
        documents: Plain texts.
        models: Load A, and B.
        source: Where the documents are from.
        progress: Told the version, how many documents are done, and how many there are.

    Raises:
        EvaluationError: If a document cannot be scored.
    """
    sides: list[list[float]] = []
    for letter, load in zip("AB", models, strict=True):
        sides.append(_bits(documents, load(), letter, source, progress))
    return TextScores(sides[0], sides[1], [len(one.encode()) for one in documents], source)


def _bits(
    documents: Sequence[str],
    model: LikelihoodModel,
    letter: str,
    source: str,
    progress: Callable[[str, int, int], None],
) -> list[float]:
    from danlu.evaluation.likelihood.forest import Wanted

    done = 0

    def hear(place: int, found: Any) -> None:
        nonlocal done
        done += 1
        progress(letter, done, len(documents))

    wanted = [Wanted((Message(TEXT_ROLE, ""),), document) for document in documents]
    found = model.logprobs(wanted, hear)
    for place, one in enumerate(found):
        if one.logprob is None:
            raise EvaluationError(
                f"{letter} gives it no probability: {one.problem}",
                where=f"{source}, document {place + 1}",
            )
    return [-(one.logprob or 0.0) / math.log(2) for one in found]


def _parts(document: str) -> list[str]:
    """Cut a long document where a reader would pause."""
    parts = []
    while len(document) > LONGEST_CHARACTERS:
        start = document[:LONGEST_CHARACTERS]
        ends = [start.rfind(mark) + len(mark) for mark in _BREAKS if mark in start[100:]]
        end = ends[0] if ends else LONGEST_CHARACTERS
        parts.append(document[:end])
        document = document[end:]
    return [part for part in [*parts, document] if part.strip()]
