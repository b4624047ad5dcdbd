"""Multiple choice as CSV: MMLU's (no header: question, A, B, C, D, answer) and C-Eval's (a header).

MMLU: Hendrycks et al. 2020, arXiv:2009.03300. C-Eval: Huang et al. 2023, arXiv:2305.08322. JSONL
with the same columns is read too.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.formats.foreign import Row, skill, text_of, user
from danlu.evaluation.suites.items import rows_of
from danlu.workshop.likeness.text import has_han

LETTERS = "ABCDEFGHIJ"
HEADLESS = ("question", "A", "B", "C", "D", "answer")
ASKED = "Answer with the letter of the right option only."
ASKED_ZH = "只回答正确选项的字母。"


@dataclass(frozen=True)
class Choices:
    """Multiple choice; the task type is ``choice/<file's name>``."""

    name: str = "choices"

    def fits(self, path: Path) -> bool:
        """Whether a file is one of multiple choice."""
        if path.suffix not in (".csv", ".tsv", ".jsonl", ".ndjson"):
            return False
        try:
            _, row = next(_rows(path), (0, {}))
        except EvaluationError:
            return False
        return all(column in row for column in ("question", "A", "B", "answer"))

    def read(self, path: Path, task_type: str | None) -> Iterator[Item]:
        """Read the questions of a file.

        Raises:
            EvaluationError: With file and line, if a row is not one.
        """
        for number, (line, row) in enumerate(_rows(path)):
            where = f"{path}:{line}"
            question = text_of(row, "question", where)
            options = {key: str(row[key]) for key in LETTERS if str(row.get(key) or "").strip()}
            answer = text_of(row, "answer", where).strip().upper()
            if len(options) < 2 or list(options) != list(LETTERS[: len(options)]):
                raise EvaluationError("must have options A, B and so on.", where=where)
            if answer not in options:
                raise EvaluationError(
                    f"the answer is {answer!r}; it must be one of {', '.join(options)}.",
                    where=where,
                )
            listed = "\n".join(f"{key}. {text}" for key, text in options.items())
            ending = ASKED_ZH if has_han(question + listed) else ASKED
            yield Item(
                id=f"{path.stem}-{row.get('id', number + 1)}",
                task_type=task_type or f"choice/{skill(path.stem)}",
                messages=user(f"{question}\n\n{listed}\n\n{ending}"),
                reference={"answer": answer, "options": options},
                source=path.stem,
            )

    def stakes(self, task_type: str) -> TypeStakes:
        """Say how it is scored."""
        return TypeStakes(scorer="choice", max_new_tokens=32)


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    if path.suffix in (".jsonl", ".ndjson"):
        yield from rows_of(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            header: list[str] | None = None
            for cells in reader:
                if not any(cells):
                    continue
                if header is None and "question" in cells:
                    header = cells
                    continue
                header = header or list(HEADLESS)
                if len(cells) != len(header):
                    raise EvaluationError(
                        f"has {len(cells)} columns, and there are {len(header)}: "
                        f"{', '.join(header)}.",
                        where=f"{path}:{reader.line_num}",
                    )
                row: dict[str, Any] = dict(zip(header, cells, strict=True))
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"cannot be read: {error}.", where=str(path)) from error


CHOICES = Choices()
