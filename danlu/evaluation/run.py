"""One evaluation: a model is asked a suite, and what it says is kept as it comes, then scored.

Killed at any moment, the same call goes on where it was: what is in the folder is not asked again,
and what another evaluation has asked of the same model is taken from the cache of answers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from danlu import __version__
from danlu.errors import EvaluationError
from danlu.evaluation.asking.model import LASTING, Answered, AskedModel, Question, message_of
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import AnswerRow, EvalSummary, Evaluation, Failure, Item
from danlu.evaluation.scoring import (
    check_references,
    is_generated,
    reads_likelihoods,
    score_all,
)
from danlu.evaluation.suites.suite import Suite
from danlu.evaluation.summary import summarise
from danlu.generation.interface import Sampling
from danlu.records.record import Message
from danlu.runs import files

EVALS = "evals"
ANSWERS = "answers.sqlite"
"""The cache of answers, in the folder of evaluations."""
MAX_NEW_TOKENS = 512
PACKAGES = ("torch", "transformers", "tokenizers")

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and how much there is."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How answers are drawn.

    Attributes:
        sampling: Greedy, or with a temperature; its length is that of task types that say none.
        seeds: One for each answer to a prompt; mixed with the item's id, see ``seed_of``.

    Raises:
        EvaluationError: If there is no seed, one twice, or several of greedy answers.
    """

    sampling: Sampling
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise EvaluationError("there must be one seed or more, each once.", where="seeds")
        if self.sampling.greedy and len(self.seeds) > 1:
            raise EvaluationError(
                f"greedy answers are all the same: {len(self.seeds)} of them say no more than one. "
                "Give a temperature above 0.",
                where="samples",
            )

    def seed_of(self, item: str, sample: int) -> int:
        """Return what one answer is drawn with; of greedy ones, which none draws, the seed itself.

        Each item has numbers of its own. With one seed for all, a sample would draw every prompt's
        first token by the same number: scores would rise and fall together, and an interval
        that takes prompts as independent would be too narrow.
        """
        seed = self.seeds[sample]
        if self.sampling.greedy:
            return seed
        digest = hashlib.blake2b(f"{seed}/{item}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) >> 1  # endpoints take 31 bits


GREEDY = Drawing(Sampling(MAX_NEW_TOKENS, greedy=True))


def evaluate(
    suite: Suite,
    model: AskedModel,
    folder: Path | str = EVALS,
    *,
    drawing: Drawing = GREEDY,
    name: str | None = None,
    progress: Progress = no_progress,
) -> EvalDirectory:
    """Ask a model a suite, score what it says, and write all of it down.

    Args:
        suite: What is asked.
        model: Who is asked.
        folder: Of all evaluations.
        drawing: How answers are drawn.
        name: Of the evaluation's own folder; None: made of suite and model, with a number behind
            where that is another's.
        progress: Told how far it is.

    Raises:
        EvaluationError: If an item's reference is none for its scorer, the model cannot do what a
            scorer needs, or the name is that of another evaluation.
        DanluError: If the model answers nobody; what it said before is kept.
    """
    check_references(suite.items, suite.task_types)
    needs_likelihoods = any(map(reads_likelihoods, suite.task_types.values()))
    if needs_likelihoods and not hasattr(model, "likelihood_model"):
        raise EvaluationError(
            "some of its scorers read log-probabilities of given texts, which an endpoint does not "
            "say. Ask the model in this process (--model FOLDER), or take these task types out.",
            where=suite.name,
        )
    wanted = _evaluation(suite, model, drawing)
    directory = _opened(Path(folder), wanted, suite.items, name)
    began = time.monotonic()
    with directory:
        _ask_all(directory, suite, model, drawing, progress)
        if needs_likelihoods:
            from danlu.evaluation.likelihood.asking import ask_likelihoods

            ask_likelihoods(directory, model.likelihood_model(), progress)  # type: ignore[attr-defined]
        score(directory, progress=progress, seconds=time.monotonic() - began)
    return directory


def score(
    directory: EvalDirectory, *, progress: Progress = no_progress, seconds: float = 0.0
) -> EvalSummary:
    """Score the answers that are there, and write scores and table; scores of judges stay.

    Args:
        directory: Opened to be written.
        progress: Told how far it is.
        seconds: That asking took, beside what earlier calls took that came to an end.
    """
    began = time.monotonic()
    earlier = directory.summary()
    rows = score_all(directory, progress)
    directory.write_scores(rows)
    seconds += time.monotonic() - began + (earlier.seconds if earlier else 0.0)
    summary = summarise(directory, rows, seconds)
    directory.finish(summary)
    return summary


# The folder ------------------------------------------------------------------------------


def _evaluation(suite: Suite, model: AskedModel, drawing: Drawing) -> Evaluation:
    sampling = asdict(replace(drawing.sampling, seed=drawing.seeds[0]))
    return Evaluation(
        suite=suite.name,
        suite_fingerprint=suite.fingerprint,
        model=model.asked,
        sampling={key: value for key, value in sampling.items() if key != "logprobs"},
        samples=len(drawing.seeds),
        seeds=drawing.seeds,
        task_types=dict(suite.task_types),
        versions=_versions(),
        started_at=datetime.now(UTC),
    )


def _versions() -> dict[str, str]:
    found = {"danlu": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _same(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations ask the same of the same model."""
    parts = ("suite_fingerprint", "sampling", "samples", "seeds", "task_types")
    return one.model.fingerprint == other.model.fingerprint and all(
        getattr(one, part) == getattr(other, part) for part in parts
    )


def _opened(
    folder: Path, wanted: Evaluation, items: Sequence[Item], name: str | None
) -> EvalDirectory:
    """Go on with this evaluation if it was begun, else begin it."""
    base = name or f"{_plain(wanted.suite)}-{_plain(_short(wanted.model.name))}"
    number = 1
    while True:
        place = folder / (base if number == 1 else f"{base}-{number}")
        if not (place / "eval.json").is_file():
            _clear(place)
            return EvalDirectory.create(place, wanted, items)
        if _same(EvalDirectory.open(place).evaluation(), wanted):
            return EvalDirectory.resume(place)
        if name:
            raise EvaluationError(
                "this is another evaluation: of another suite or model, or with other sampling. "
                "Give yours another --name.",
                where=str(place),
            )
        number += 1


def _clear(place: Path) -> None:
    """Take away what a process left that was killed before it had begun an evaluation."""
    if place.is_dir() and {entry.name for entry in place.iterdir()} <= {".lock", "items.jsonl"}:
        (place / "items.jsonl").unlink(missing_ok=True)


def free_place(folder: Path, name: str | None, suite: str, model: str) -> Path:
    """Return where a new evaluation goes: by its name, or made of suite and model."""
    if name:
        return folder / name
    base = f"{_plain(suite)}-{_plain(_short(model))}"
    number = 1
    while (place := folder / (base if number == 1 else f"{base}-{number}")).exists():
        number += 1
    return place


def _short(model: str) -> str:
    return model.rstrip("/\\").replace("\\", "/").rpartition("/")[2].rpartition(":")[2]


def _plain(text: str) -> str:
    kept = "".join(char if char.isalnum() or char in "._-" else "-" for char in text)
    return kept.strip(".-")[:60] or "eval"


# Asking ----------------------------------------------------------------------------------


def _ask_all(
    directory: EvalDirectory,
    suite: Suite,
    model: AskedModel,
    drawing: Drawing,
    progress: Progress,
) -> None:
    """Ask what is not answered yet; turns of a conversation one after another."""
    there = _lasting(directory)
    asked = [one for one in suite.items if is_generated(suite.task_types[one.task_type])]
    total = len(asked) * len(drawing.seeds)
    conversations: dict[tuple[str, int], tuple[Message, ...]] = {}
    depth: dict[str, int] = {}
    for item in asked:
        depth[item.id] = depth[item.follows] + 1 if item.follows is not None else 0
    for turn in range(max(depth.values(), default=-1) + 1):
        rows: list[tuple[Item, int]] = []
        questions: list[Question] = []
        for item in asked:
            for sample in range(len(drawing.seeds) if depth[item.id] == turn else 0):
                seed = drawing.seed_of(item.id, sample)
                messages = _conversation(item, sample, conversations, there)
                if messages is None:
                    row = AnswerRow(
                        item=item.id, sample=sample, seed=seed, text=None, failure=_no_turn_before()
                    )
                    there[item.id, sample] = row
                    directory.append_answers([row])
                    continue
                conversations[item.id, sample] = messages
                if (item.id, sample) in there:
                    continue
                limit = suite.task_types[item.task_type].max_new_tokens
                sampling = replace(
                    drawing.sampling,
                    seed=seed,
                    max_new_tokens=limit or drawing.sampling.max_new_tokens,
                )
                rows.append((item, sample))
                questions.append(Question(messages, sampling))
        progress("asking", len(there), total)

        def hear(
            number: int,
            answer: Answered,
            rows: list[tuple[Item, int]] = rows,
            questions: list[Question] = questions,
        ) -> None:
            item, sample = rows[number]
            row = AnswerRow(
                item=item.id,
                sample=sample,
                seed=questions[number].sampling.seed,
                text=answer.text,
                finished=answer.finished,
                tokens=answer.tokens,
                failure=answer.failure,
                asked=_shown(questions[number]) if item.follows is not None else None,
                reused=answer.reused,
            )
            there[item.id, sample] = row
            directory.append_answers([row])
            progress("asking", len(there), total)

        if questions:
            running = directory.evaluation().model_copy(update={"state": "running"})
            directory.write_evaluation(running)  # it may have been finished
            model.answer(questions, hear)


def _lasting(directory: EvalDirectory) -> dict[tuple[str, int], AnswerRow]:
    """Return the answers that are there; failures that may have passed are taken out."""
    rows = list(directory.answers())
    kept = [row for row in rows if row.failure is None or row.failure.kind in LASTING]
    if len(kept) < len(rows):
        files.write_rows(directory.path / "answers.jsonl", kept)
    return {(row.item, row.sample): row for row in kept}


def _conversation(
    item: Item,
    sample: int,
    conversations: dict[tuple[str, int], tuple[Message, ...]],
    there: dict[tuple[str, int], AnswerRow],
) -> tuple[Message, ...] | None:
    """Return what is asked; None if the turn before has no answer."""
    own = tuple(message_of(dict(row)) for row in item.messages)
    if item.follows is None:
        return own
    answer = there.get((item.follows, sample))
    before = conversations.get((item.follows, sample))
    if answer is None or answer.text is None or before is None:
        return None
    return (*before, Message("assistant", answer.text), *own)


def _shown(question: Question) -> tuple[dict[str, object], ...]:
    return tuple(message.as_dict() for message in question.messages)


def _no_turn_before() -> Failure:
    return Failure(kind="endpoint", message="the turn before it has no answer")
