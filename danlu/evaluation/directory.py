"""``EvalDirectory``: the folder of one evaluation, the contract between those who write and read.

    evals/<name>/
      eval.json      what was asked of whom, and how (``Evaluation``)
      items.jsonl    the prompts that were asked (``Item``)
      answers.jsonl  one line per answer (``AnswerRow``), appended as they come
      likelihoods.jsonl  one line per text whose probability was asked for (``LikelihoodRow``)
      scores.jsonl   one line per answer and scorer (``ScoredAnswer``); made anew by scoring again
      summary.json   the table per task type (``EvalSummary``), when all is done

Pages and comparisons read it through this class only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Self

from danlu.errors import EvaluationError, nearest
from danlu.evaluation.rows import ScoredRow, Stakes
from danlu.evaluation.schema import (
    AnswerRow,
    EvalSummary,
    Evaluation,
    Item,
    LikelihoodRow,
    ScoredAnswer,
)
from danlu.runs import files
from danlu.runs.schema import Row, State


class EvalDirectory:
    """The files of one evaluation; ``create`` and ``resume`` write, ``open`` reads.

    A writer holds a lock until ``close`` or its death, so two processes never write one.

    Attributes:
        path: The folder, as given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = files.Lock(path / ".lock")
        self._open: dict[str, IO[str]] = {}

    @classmethod
    def create(cls, path: Path | str, evaluation: Evaluation, items: Iterable[Item]) -> Self:
        """Begin a new evaluation in a folder that is empty or not there.

        Raises:
            EvaluationError: If something is there already.
        """
        made = cls(Path(path))
        if made.path.exists() and (not made.path.is_dir() or _has_files(made.path)):
            raise EvaluationError(
                "something is there already, and it is no evaluation; give yours another --name.",
                where=str(path),
            )
        made.path.mkdir(parents=True, exist_ok=True)
        made._take_lock()
        files.write_rows(made.path / "items.jsonl", items)
        made.write_evaluation(evaluation)  # last: what has it is an evaluation
        return made

    @classmethod
    def resume(cls, path: Path | str) -> Self:
        """Go on writing one, finished or not.

        Raises:
            EvaluationError: If there is none, or another process writes it.
        """
        found = cls.open(path)
        found._take_lock()
        return found

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open one to read it.

        Raises:
            EvaluationError: If there is none at ``path``; names the nearest one.
        """
        found = cls(Path(path))
        if (found.path / "eval.json").is_file():
            return found
        siblings = {other.path.name for other in find_evaluations(found.path.parent)}
        match = nearest(found.path.name, siblings)
        remedy = f"Did you mean {found.path.parent / match}?" if match else ""
        raise EvaluationError(
            f"there is no evaluation here. {remedy or '`danlu eval SUITE --model M` makes one.'}",
            where=str(path),
        )

    def close(self) -> None:
        """Close what is open and let others write."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is there -----------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def evaluation(self) -> Evaluation:
        """Read what was asked of whom.

        Raises:
            RunError: If the file is broken.
        """
        found = files.read_row(Evaluation, self.path / "eval.json")
        if found is None:
            raise EvaluationError("eval.json is missing.", where=str(self.path))
        return found

    def state(self) -> State:
        """Return the state as it is: ``running`` with no process behind it is ``interrupted``."""
        state = self.evaluation().state
        return "interrupted" if state == "running" and not self._lock.is_held() else state

    def items(self) -> list[Item]:
        """Read the prompts, in the order of the suite."""
        return list(files.read_rows(Item, self.path / "items.jsonl"))

    def answers(self) -> Iterator[AnswerRow]:
        """Read answers in the order they came; a line that a kill tore is passed over."""
        return files.read_rows(AnswerRow, self.path / "answers.jsonl")

    def likelihoods(self) -> Iterator[LikelihoodRow]:
        """Read log-probabilities, likewise."""
        return files.read_rows(LikelihoodRow, self.path / "likelihoods.jsonl")

    def scores(self) -> Iterator[ScoredAnswer]:
        """Read scores; nothing before scoring."""
        return files.read_rows(ScoredAnswer, self.path / "scores.jsonl")

    def summary(self) -> EvalSummary | None:
        """Read the table; None before the evaluation is finished."""
        return files.read_row(EvalSummary, self.path / "summary.json")

    # What a comparison reads -------------------------------------------------------------

    def stakes(self) -> dict[str, Stakes]:
        """Return weight, margin and range by task type."""
        return {
            name: Stakes(of.weight, of.critical, of.margin, of.low, of.high)
            for name, of in self.evaluation().task_types.items()
        }

    def scored_rows(self, scorer: str | None = None) -> list[ScoredRow]:
        """Return one row per item: the mean over its samples, missing if any sample's is.

        Args:
            scorer: Whose; None: of each task type the scorer that counts.

        Raises:
            EvaluationError: If nothing is scored.
        """
        types = self.evaluation().task_types
        values: dict[str, list[float | None]] = defaultdict(list)
        for row in self.scores():
            if row.scorer == (scorer or types[row.task_type].scorer):
                values[row.item].append(row.value)
        if not values:
            raise EvaluationError(
                f"has no scores{f' of {scorer}' if scorer else ''} yet: danlu eval score "
                f"{self.path}",
                where=str(self.path),
            )
        rows = []
        for item in self.items():
            if scorer and item.id not in values:
                continue
            found = values.get(item.id, [])
            there = [value for value in found if value is not None]
            whole = bool(there) and len(there) == len(found)
            mean = sum(there) / len(there) if whole else None
            rows.append(ScoredRow(item.id, item.task_type, mean, item.cluster))
        return rows

    # Writing -----------------------------------------------------------------------------

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Keep what was asked of whom, or its new state."""
        files.write_atomically(self.path / "eval.json", evaluation.to_json(indent=1) + "\n")

    def append_answers(self, rows: Iterable[AnswerRow]) -> None:
        """Append answers and hand them to the system, so that a kill cannot take them back."""
        self._append("answers.jsonl", rows)

    def append_likelihoods(self, rows: Iterable[LikelihoodRow]) -> None:
        """Append log-probabilities likewise."""
        self._append("likelihoods.jsonl", rows)

    def write_scores(self, rows: Iterable[ScoredAnswer]) -> None:
        """Keep all scores, in place of earlier ones."""
        files.write_rows(self.path / "scores.jsonl", rows)

    def finish(self, summary: EvalSummary) -> None:
        """Write the table, then the state ``finished``."""
        files.write_atomically(self.path / "summary.json", summary.to_json(indent=1) + "\n")
        self.write_evaluation(self.evaluation().model_copy(update={"state": "finished"}))

    def _append(self, name: str, rows: Iterable[Row]) -> None:
        if name not in self._open:
            files.cut_torn_line(self.path / name)
            self._open[name] = (self.path / name).open("a", encoding="utf-8", newline="\n")
        self._open[name].write("".join(row.to_json() + "\n" for row in rows))
        self._open[name].flush()

    def _take_lock(self) -> None:
        if not self._lock.acquire():
            raise EvaluationError(
                "another process writes this evaluation; wait for it, or stop it.",
                where=str(self.path),
            )


def find_evaluations(folder: Path | str) -> list[EvalDirectory]:
    """Return the evaluations in a folder, by name."""
    root = Path(folder)
    if not root.is_dir():
        return []
    return [EvalDirectory(path.parent) for path in sorted(root.glob("*/eval.json"))]


def _has_files(path: Path) -> bool:
    return any(entry.name != ".lock" for entry in path.iterdir())
