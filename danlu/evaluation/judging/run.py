"""A judge over whole evaluations: scores added to one, or two compared; kept, and summed up."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np

from danlu.errors import EvaluationError
from danlu.evaluation.contests import answer_text, contests
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.judging.asking import Judge
from danlu.evaluation.judging.calibrate import (
    Calibrated,
    calibrated_mean,
    calibrated_share,
    calibrated_win_rate,
)
from danlu.evaluation.judging.pairwise import Bias, Judged, Outcome, bias, judge_pairs, outcome
from danlu.evaluation.judging.plan import Plan, with_suite
from danlu.evaluation.judging.scoring import PREFIX, USABILITY, is_judges, judge_answers
from danlu.evaluation.schema import AnswerRow, Item, ScoredAnswer
from danlu.evaluation.store.judgements import Judgement
from danlu.evaluation.store.keys import answer_key, question_key
from danlu.evaluation.summary import interval, summarise
from danlu.evaluation.voting.ballots import chosen
from danlu.evaluation.voting.labels import Answer, Labels


@dataclass(frozen=True, slots=True)
class DimensionFigures:
    """One dimension of one task type.

    Attributes:
        scored: Answers with a score.
        mean: Of their scores, from 1 to 10; None if there is none.
        wavered: Mean standard deviation over the repeats of one answer; None with one repeat.
        calibrated: The mean as people would give it; None without labels.
    """

    scored: int
    mean: float | None
    wavered: float | None
    calibrated: Calibrated | None


@dataclass(frozen=True, slots=True)
class TypeFigures:
    """One task type, or all of them.

    Attributes:
        answers: Given to the judge.
        missing: Answers without a verdict, by kind of failure.
        usable: Mean over prompts of the share of usable answers; None if none is judged.
        low: Lower end of its 95 % interval; None where nothing can be said.
        high: Upper end.
        length: Correlation, within task types, of the weighted score with the logarithm of the
            answer's length; None if undefined.
        calibrated: The usable share as people would see it; None without labels.
        dimensions: By name.
    """

    answers: int
    missing: Mapping[str, int]
    usable: float | None
    low: float | None
    high: float | None
    length: float | None
    calibrated: Calibrated | None
    dimensions: Mapping[str, DimensionFigures]


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Two evaluations compared.

    Attributes:
        pairs: Each pair, judged.
        outcomes: By task type, and of all under the empty name.
        bias: Of the judge.
        calibrated: The win rate as people would see it; None without their votes.
    """

    pairs: Sequence[Judged]
    outcomes: Mapping[str, Outcome]
    bias: Bias
    calibrated: Calibrated | None


def judge_evaluation(
    directory: EvalDirectory, judge: Judge, plan: Plan, patterns: Sequence[str] = ()
) -> list[ScoredAnswer]:
    """Judge an evaluation's answers, and add the scores to its file; other scorers' rows stay.

    Args:
        directory: Whose; it is opened for writing only when the judge is done.
        judge: Who judges.
        plan: By what; what the suite says of its own task types stands before it.
        patterns: Of task types; none: those whose suite asks for a judge, or all if none does.

    Returns:
        The judge's rows.

    Raises:
        EvaluationError: If it is being written, nothing is answered, or a task type is not there.
    """
    evaluation = directory.evaluation()
    if directory.state() == "running":
        raise EvaluationError(
            "is still being asked; wait until it is finished.", where=str(directory.path)
        )
    plan = with_suite(plan, evaluation.task_types)
    items = wanted_items(directory, patterns)
    ids = {item.id for item in items}
    answers = [row for row in directory.answers() if row.item in ids]
    if not answers:
        raise EvaluationError("has no answers to judge.", where=str(directory.path))
    rows = judge_answers(judge, plan, items, answers)
    types = {item.task_type for item in items}
    with EvalDirectory.resume(directory.path) as opened:
        others = [
            row for row in opened.scores() if not (is_judges(row.scorer) and row.task_type in types)
        ]
        opened.write_scores([*others, *rows])
        summary = opened.summary()
        if summary is not None:
            opened.finish(summarise(opened, [*others, *rows], summary.seconds))
    return rows


def wanted_items(directory: EvalDirectory, patterns: Sequence[str] = ()) -> list[Item]:
    """Return the items to judge: those asked for, else those whose suite names a judge, else all.

    Raises:
        EvaluationError: If a pattern fits no task type.
    """
    items = directory.items()
    if patterns:
        return chosen(items, patterns)
    types = directory.evaluation().task_types
    judged = {
        name
        for name, of in types.items()
        if any(is_judges(scorer) for scorer in (of.scorer, *of.also))
    }
    return [item for item in items if not judged or item.task_type in judged]


def judge_two(
    a: EvalDirectory,
    b: EvalDirectory,
    judge: Judge,
    plan: Plan,
    patterns: Sequence[str] = (),
    people: Mapping[Answer, float] | None = None,
) -> PairFigures:
    """Compare two evaluations' answers to the same prompts.

    Args:
        a: The earlier version.
        b: The later.
        judge: Who judges.
        plan: Which dimensions count.
        patterns: Of task types; none: all.
        people: By item and sample, what people say: 1 B, 0 A, 0.5 neither.

    Raises:
        EvaluationError: If they share no answered prompt, or a task type is not there.
    """
    plan = with_suite(plan, a.evaluation().task_types)
    items = chosen(a.items(), patterns)
    pairs = contests(items, b.items(), list(a.answers()), list(b.answers()))
    judged = judge_pairs(judge, plan, pairs)
    types: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        types[one.task_type].append(one)
    asked = {(j.item, j.sample): j.win for j in judged if j.win is not None and j.said}
    return PairFigures(
        pairs=judged,
        outcomes={"": outcome(judged)} | {name: outcome(types[name]) for name in sorted(types)},
        bias=bias(judged),
        calibrated=calibrated_win_rate(asked, people) if people else None,
    )


def figures(
    directory: EvalDirectory, rows: Sequence[ScoredAnswer], labels: Labels | None = None
) -> dict[str, TypeFigures]:
    """Sum a judge's rows up by task type, and of all under the empty name.

    Args:
        directory: Whose answers they are about.
        rows: From ``judge_evaluation``.
        labels: People's; calibrates what there are enough labels for.
    """
    clusters = {item.id: item.cluster for item in directory.items()}
    lengths = {
        (row.item, row.sample): math.log1p(len(answer_text(row)))
        for row in directory.answers()
        if row.text is not None
    }
    types: dict[str, list[ScoredAnswer]] = defaultdict(list)
    for row in rows:
        types[row.task_type].append(row)
    found = {"": _figures(rows, clusters, lengths, labels or Labels())}
    for name in sorted(types):
        found[name] = _figures(types[name], clusters, lengths, labels or Labels())
    return found


def setup_of(judge: Judge, plan: Plan) -> str:
    """Hash what shapes a judgement beside the judge itself: plan, prompts, sampling, repeats."""
    parts = {
        "plan": plan.fingerprint(),
        "prompts": judge.prompts.settings(),
        "sampling": asdict(judge.sampling),
        "repeats": judge.repeats,
        "without_reference": judge.without_reference,
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def judgements_of(
    directory: EvalDirectory, rows: Iterable[ScoredAnswer], judge: str, setup: str
) -> list[Judgement]:
    """Return a judge's rows as the store keeps them; missing answers are left out."""
    items = {item.id: item for item in directory.items()}
    texts = {(r.item, r.sample): r for r in directory.answers() if r.text is not None}
    source = (str(directory.path.resolve()),)
    found = []
    for row in rows:
        answer = texts.get((row.item, row.sample))
        if answer is None:
            continue
        found.append(
            Judgement(
                judge=judge,
                setup=setup,
                question=question_key(items[row.item].messages),
                first=answer_key(answer_text(answer)),
                second="",
                dimension="usable" if row.scorer == USABILITY else row.scorer.removeprefix(PREFIX),
                task_type=row.task_type,
                item=row.item,
                sources=source,
                value=row.value,
                why=row.why or (row.failure.message if row.failure else ""),
                details=dict(row.details),
            )
        )
    return found


def pair_judgements_of(
    a: EvalDirectory, b: EvalDirectory, pairs: Iterable[Judged], judge: str, setup: str
) -> list[Judgement]:
    """Return judged pairs as the store keeps them; equal and missing answers are left out."""
    items = {item.id: item for item in a.items()}
    sides = [{(r.item, r.sample): r for r in one.answers()} for one in (a, b)]
    sources = tuple(str(one.path.resolve()) for one in (a, b))
    found = []
    for one in pairs:
        if not one.said:
            continue
        rows: list[AnswerRow] = [side[one.item, one.sample] for side in sides]
        first, second = (answer_key(answer_text(row)) for row in rows)
        found.append(
            Judgement(
                judge=judge,
                setup=setup,
                question=question_key(items[one.item].messages),
                first=first,
                second=second,
                dimension="better",
                task_type=one.task_type,
                item=one.item,
                sources=sources,
                value=one.win,
                why=one.why or (one.failure.message if one.failure else ""),
                details={"said": [list(both) for both in one.said]},
            )
        )
    return found


def _figures(
    rows: Sequence[ScoredAnswer],
    clusters: Mapping[str, str | None],
    lengths: Mapping[Answer, float],
    labels: Labels,
) -> TypeFigures:
    usable = [row for row in rows if row.scorer == USABILITY]
    judged = {(r.item, r.sample): r.value == 1.0 for r in usable if r.value is not None}
    by_item: dict[str, list[bool]] = defaultdict(list)
    for (item, _), value in judged.items():
        by_item[item].append(value)
    shares = [fmean(values) for values in by_item.values()]
    low, high = interval(shares, [clusters[item] for item in by_item]) if shares else (None, None)
    own = {(row.item, row.sample) for row in usable}
    people = {answer: label for answer, label in labels.usable.items() if answer in own}
    names = dict.fromkeys(row.scorer for row in rows if row.scorer != USABILITY)
    return TypeFigures(
        answers=len(usable),
        missing=dict(Counter(row.failure.kind for row in usable if row.failure)),
        usable=fmean(shares) if shares else None,
        low=low,
        high=high,
        length=_length_bias(usable, lengths),
        calibrated=calibrated_share(judged, people) if people and judged else None,
        dimensions={
            name.removeprefix(PREFIX): _dimension(name, rows, own, labels) for name in names
        },
    )


def _dimension(
    scorer: str, rows: Sequence[ScoredAnswer], own: set[Answer], labels: Labels
) -> DimensionFigures:
    found = [row for row in rows if row.scorer == scorer]
    scores = {(r.item, r.sample): r.value for r in found if r.value is not None}
    spread = [row.details["sd"] for row in found if "sd" in row.details]
    people = labels.scores.get(scorer.removeprefix(PREFIX), {})
    people = {answer: score for answer, score in people.items() if answer in own}
    return DimensionFigures(
        scored=len(scores),
        mean=fmean(scores.values()) if scores else None,
        wavered=fmean(spread) if spread else None,
        calibrated=calibrated_mean(scores, people) if people and scores else None,
    )


def _length_bias(usable: Sequence[ScoredAnswer], lengths: Mapping[Answer, float]) -> float | None:
    """Return the correlation of score and length when each task type's means are taken out."""
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in usable:
        if row.value is not None:
            pair = (float(row.details["score"]), lengths[row.item, row.sample])
            groups[row.task_type].append(pair)
    if sum(map(len, groups.values())) < 3:
        return None
    centred = [np.array(pairs) - np.mean(pairs, axis=0) for pairs in groups.values() if pairs]
    scores, logs = np.concatenate(centred).T
    spread = float(np.sqrt((scores**2).sum() * (logs**2).sum()))
    if spread < 1e-12:
        return None
    return min(max(float((scores * logs).sum() / spread), -1.0), 1.0)  # but for rounding
