"""Two evaluations compared in full: verdicts, the answers that moved, and why they moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from danlu.evaluation.causes import Explanation, explain
from danlu.evaluation.compare import compare
from danlu.evaluation.comparison import CompareSettings, Comparison, Move, Verdict
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.finding import run_of
from danlu.evaluation.rows import Stakes
from danlu.evaluation.schema import AnswerRow, Evaluation, Item, ScoredAnswer
from danlu.evaluation.training_data import TrainingChange, base_of, training_change

MOST_CASES = 300
"""Regressions whose answers are read, and improvements; of all of them the scores are kept."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One version's answer to a prompt, as a report shows it.

    Attributes:
        text: The answer; None if there is none.
        score: Of it; None if missing.
        why: Why points were lost, or why the answer or its score is missing.
    """

    text: str | None
    score: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt whose score changed, with both answers.

    Attributes:
        move: The change.
        messages: What was asked.
        reference: What was expected; None if nothing is said.
        sample: Of several samples the one shown: where the scores are farthest apart.
        a: The earlier version's answer.
        b: The later's.
    """

    move: Move
    messages: tuple[dict[str, Any], ...]
    reference: Any
    sample: int
    a: Answered
    b: Answered

    @property
    def asked(self) -> str:
        """The last thing that was said before the answer."""
        return text_of(self.messages[-1]) if self.messages else ""


@dataclass(frozen=True, slots=True)
class Compared:
    """B against A, all of it.

    Attributes:
        a: The earlier evaluation, as its folder tells it.
        b: The later.
        paths: Of both folders.
        comparison: Verdicts per task type, and all prompts that moved.
        regressions: The greatest losses, with answers.
        improvements: The greatest gains.
        training: What changed in the training data; None where neither was trained here.
        explanations: Of each task type that moved, its likely causes.
        notes: What a reader must know beside.
    """

    a: Evaluation
    b: Evaluation
    paths: tuple[str, str]
    comparison: Comparison
    regressions: tuple[Case, ...]
    improvements: tuple[Case, ...]
    training: TrainingChange | None
    explanations: tuple[Explanation, ...]
    notes: tuple[str, ...]

    def headline(self) -> str:
        """Say the outcome in a sentence."""
        return headline(self.comparison)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        found = asdict(self) | {
            "a": self.a.model_dump(mode="json"),
            "b": self.b.model_dump(mode="json"),
        }
        return {"headline": self.headline(), **found}


def compare_evaluations(
    a: EvalDirectory,
    b: EvalDirectory,
    *,
    settings: CompareSettings | None = None,
    scorer: str | None = None,
    cases: int = MOST_CASES,
) -> Compared:
    """Compare two evaluations of one suite.

    Args:
        a: Of the earlier version.
        b: Of the later.
        settings: How; None: the defaults.
        scorer: Whose scores; None: of each task type the scorer that counts.
        cases: How many regressions and how many improvements are given with their answers.

    Raises:
        EvaluationError: If they cannot be compared: other prompts, or a score is missing (see
            ``CompareSettings.incomplete``).
    """
    rows = [one.scored_rows(scorer) for one in (a, b)]
    told = a.evaluation(), b.evaluation()
    notes = list(differences(*told))
    comparison = compare(*rows, stakes=stakes_of(b, rows, scorer), settings=settings)
    training = _training(a, b, notes)
    explanations: tuple[Explanation, ...] = ()
    if training is not None:
        data = {name: one.change for name, one in training.task_types.items()}
        explanations = explain(comparison, data, training.flat_settings())
        notes += training.notes
    lost, gained = comparison.regressions[:cases], comparison.improvements[:cases]
    found = read_cases(a, b, [*lost, *gained], scorer)
    return Compared(
        *told,
        (str(a.path), str(b.path)),
        comparison,
        tuple(found[: len(lost)]),
        tuple(found[len(lost) :]),
        training,
        explanations,
        tuple(notes),
    )


def stakes_of(
    directory: EvalDirectory, rows: Iterable[Sequence[Any]], scorer: str | None = None
) -> dict[str, Stakes]:
    """Return the stakes of the task types that have rows.

    Another scorer than the one that counts has a range of its own, which the suite does not say:
    then it runs from the lowest score to the highest, or from 0 to 1 if all lie within.
    """
    scored: dict[str, list[float]] = {}
    for side in rows:
        for row in side:
            scored.setdefault(row.task_type, []).extend([] if row.score is None else [row.score])
    types = directory.evaluation().task_types
    found = {}
    for name, of in directory.stakes().items():
        if name not in scored:
            continue
        if scorer is None or types[name].scorer == scorer:
            found[name] = of
            continue
        low, high = min([0.0, *scored[name]]), max([1.0, *scored[name]])
        found[name] = Stakes(of.weight, of.critical, of.margin, low, high)
    return found


def read_cases(
    a: EvalDirectory, b: EvalDirectory, moves: Sequence[Move], scorer: str | None = None
) -> list[Case]:
    """Read what was asked and answered where scores moved, in the order of ``moves``."""
    wanted = {move.prompt for move in moves}
    items = {item.id: item for item in b.items() if item.id in wanted}
    items |= {item.id: item for item in a.items() if item.id in wanted and item.id not in items}
    sides = [_answers(one, wanted, scorer) for one in (a, b)]
    return [
        _case(move, items[move.prompt], *(side[move.prompt] for side in sides)) for move in moves
    ]


def text_of(message: dict[str, Any]) -> str:
    """Return a message's text; parts of other kinds are named, not shown.

    Example:
        >>> text_of({"role": "user", "content": [{"type": "text", "text": "Hi"}]})
        'Hi'
    """
    content = message.get("content")
    if isinstance(content, list):
        parts = [one if isinstance(one, dict) else {"text": str(one)} for one in content]
        return "\n".join(str(one.get("text", f"({one.get('type', 'part')})")) for one in parts)
    return "" if content is None else str(content)


def headline(comparison: Comparison) -> str:
    """Say the outcome in a sentence.

    Example:
        >>> from danlu.evaluation.rows import ScoredRow
        >>> def rows(right):
        ...     return [ScoredRow(str(k), "math/sums", float(k < right)) for k in range(100)]
        >>> headline(compare(rows(70), rows(50)))
        'B is worse in 1 of 1 task types: math/sums.'
    """
    leaves = comparison.task_types
    by_verdict = {
        verdict: [leaf.name for leaf in leaves if leaf.verdict is verdict] for verdict in Verdict
    }
    said = []
    for verdict, word in ((Verdict.WORSE, "worse"), (Verdict.BETTER, "better")):
        if names := by_verdict[verdict]:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
            said.append(f"B is {word} in {len(names)} of {len(leaves)} task types: {shown}.")
    if names := by_verdict[Verdict.SAME]:
        said.append(f"No difference seen in {len(names)}.")
    if names := by_verdict[Verdict.FEW]:
        said.append(f"Too few prompts to see one in {len(names)}.")
    return " ".join(said)


# Inner -----------------------------------------------------------------------------------


_Samples = dict[int, Answered]


def _answers(directory: EvalDirectory, wanted: set[str], scorer: str | None) -> dict[str, _Samples]:
    """Return the answers to some items by sample, with the scores that are compared."""
    types = directory.evaluation().task_types
    texts: dict[tuple[str, int], AnswerRow] = {
        (row.item, row.sample): row for row in directory.answers() if row.item in wanted
    }
    found: dict[str, _Samples] = {item: {} for item in wanted}
    for row in directory.scores():
        if row.item in wanted and row.scorer == (scorer or types[row.task_type].scorer):
            found[row.item][row.sample] = _answered(texts.get((row.item, row.sample)), row)
    return found


def _answered(answer: AnswerRow | None, score: ScoredAnswer) -> Answered:
    failure = (answer and answer.failure) or score.failure
    why = score.why or (failure.message if failure else "")
    return Answered(answer.text if answer else None, score.value, why)


def _case(move: Move, item: Item, a: _Samples, b: _Samples) -> Case:
    """Choose the sample where the scores are farthest apart in the direction of the move."""

    def change(sample: int) -> float:
        one, other = a[sample].score, b[sample].score
        apart = (other or 0.0) - (one or 0.0)
        return apart if move.change < 0 else -apart

    none = Answered(None, None, "not asked as often as the other")
    sample = min(sorted(a.keys() & b.keys()), key=change, default=0)
    return Case(
        move, item.messages, item.reference, sample, a.get(sample, none), b.get(sample, none)
    )


def differences(a: Evaluation, b: Evaluation) -> Iterable[str]:
    """Say what makes the two less than comparable."""
    if a.suite_fingerprint != b.suite_fingerprint:
        yield (
            f"The suites differ ({a.suite} {a.suite_fingerprint[:8]}, {b.suite} "
            f"{b.suite_fingerprint[:8]}): prompts of one id are taken to be the same."
        )
    for name in sorted(a.sampling.keys() & b.sampling.keys()):
        if a.sampling[name] != b.sampling[name]:
            yield f"Asked otherwise: {name} is {a.sampling[name]} in A and {b.sampling[name]} in B."
    if a.samples != b.samples:
        yield f"A has {a.samples} answers per prompt, B has {b.samples}; means are compared."
    changed = [
        name
        for name in sorted(a.task_types.keys() & b.task_types.keys())
        if _scored(a, name) != _scored(b, name)
    ]
    for scorer, names in groupby(changed, key=lambda name: b.task_types[name].scorer):
        yield (
            f"Scored otherwise in A and B: {', '.join(names)} ({scorer} in B). `danlu eval score` "
            "scores the answers of A again."
        )
    if a.model.fingerprint == b.model.fingerprint:
        yield "A and B are the same model, by the fingerprint of its weights."


def _scored(of: Evaluation, name: str) -> Any:
    one = of.task_types[name]
    return one.scorer, one.settings.get(one.scorer), one.low, one.high


def _training(a: EvalDirectory, b: EvalDirectory, notes: list[str]) -> TrainingChange | None:
    """Find what changed in the training data, if anything can be known of it."""
    runs = [run_of(a), run_of(b)]
    if runs[0] is None and runs[1] is None:
        return None
    for side, other, letter in ((0, 1, "A"), (1, 0, "B")):
        trained = runs[other]
        if runs[side] is None and trained is not None:
            name = (a, b)[side].evaluation().model.name
            if base_of(trained) != name:
                notes.append(
                    f"{letter} ({name}) is no run of Danlu's that is here: what it was trained on "
                    "is unknown, and so is what changed."
                )
                return None
    return training_change(*runs)
