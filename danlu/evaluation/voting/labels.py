"""Labels for a judge: people's votes, and a file of labels from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from danlu.errors import EvaluationError
from danlu.evaluation.contests import answer_text
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.store.keys import answer_key, question_key
from danlu.evaluation.store.votes import Subject, Vote
from danlu.evaluation.voting.ballots import Paired
from danlu.evaluation.voting.results import pair_labels, single_labels, usable_of, win_of
from danlu.records.text_files import text_lines
from danlu.runs.files import parse_row
from danlu.runs.schema import Row, Text

Answer = tuple[str, int]
"""Id of the item and index of the sample."""


class LabelRow(Row):
    """One line of a file of labels.

    Attributes:
        item: Id of the item.
        sample: Index of the answer.
        usable: Whether it is usable; None if that was not asked.
        scores: By dimension, from 1 to 10.
    """

    item: Text
    sample: int = Field(0, ge=0)
    usable: bool | None = None
    scores: dict[Text, float] = Field(default_factory=dict)


@dataclass
class Labels:
    """What people say of one evaluation's answers.

    Attributes:
        usable: By answer.
        scores: By dimension and answer.
    """

    usable: dict[Answer, bool] = field(default_factory=dict)
    scores: dict[str, dict[Answer, float]] = field(default_factory=dict)


def read_labels(path: Path | str) -> Labels:
    """Read labels from JSONL: ``{"item": "q1", "usable": true, "scores": {"helpful": 7}}``.

    Raises:
        EvaluationError: If it cannot be read, is empty, or labels an answer twice.
        RunError: At the first broken line.
    """
    found = Labels()
    seen: set[Answer] = set()
    try:
        lines = text_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"the labels cannot be read: {error}.", where=str(path)) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = parse_row(LabelRow, line, where)
        key = (row.item, row.sample)
        if key in seen:
            raise EvaluationError(f"labels {json.dumps(row.item)} again.", where=where)
        seen.add(key)
        if row.usable is not None:
            found.usable[key] = row.usable
        for name, score in row.scores.items():
            found.scores.setdefault(name, {})[key] = score
    if not seen:
        raise EvaluationError("holds no labels.", where=str(path))
    return found


def voted_usable(directory: EvalDirectory, votes: Iterable[Vote]) -> dict[Answer, bool]:
    """Return what most voters say of an evaluation's answers; where they are divided, nothing."""
    items = {item.id: question_key(item.messages) for item in directory.items()}
    subjects = {
        (row.item, row.sample): Subject.of(items[row.item], answer_key(answer_text(row)))
        for row in directory.answers()
        if row.text is not None
    }
    labels = single_labels(set(subjects.values()), votes)
    said = {answer: usable_of(labels[of]) for answer, of in subjects.items() if of in labels}
    return {answer: usable for answer, usable in said.items() if usable is not None}


def voted_wins(pairs: Iterable[Paired], votes: Iterable[Vote]) -> dict[Answer, float]:
    """Return what most voters say of pairs: 1 B, 0 A, 0.5 neither."""
    pairs = list(pairs)
    labels = pair_labels(pairs, votes)
    return {
        (one.contest.item.id, one.contest.a.sample): win_of(labels[one.subject])
        for one in pairs
        if one.subject in labels
    }
