"""Ask the worst regressions again, of both versions, and say whether they are real.

Both are asked in an evaluation of their own, so a killed one goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from danlu.evaluation.asking.model import AskedModel
from danlu.evaluation.compare import compare
from danlu.evaluation.compared import stakes_of, text_of
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.fluctuation import (
    Chosen,
    FluctuateSettings,
    Fluctuation,
    choose,
    judge_samples,
    passed_samples,
)
from danlu.evaluation.rows import Incomplete
from danlu.evaluation.run import Drawing, evaluate
from danlu.evaluation.schema import Evaluation, Item
from danlu.evaluation.scorers import SCORERS
from danlu.evaluation.suites.stakes import base_name
from danlu.evaluation.suites.suite import Suite
from danlu.generation.interface import Sampling

Progress = Callable[[str, int, int], None]
"""Told which version is asked, how many samples there are, and how many there will be."""
Listed = tuple[tuple[bool | None, int, str], ...]
"""Answers: whether they passed (None without a score), how often they came, and their text."""
MAX_NEW_TOKENS = 512
TEMPERATURE, TOP_P = 0.7, 0.95
"""Of fresh samples, where the evaluations were greedy."""


@dataclass(frozen=True, slots=True)
class PromptAnswers:
    """What was asked and answered, for the page.

    Attributes:
        asked: The last thing said before the answer.
        reference: What was expected.
        a: A's answers.
        b: B's.
    """

    asked: str
    reference: Any
    a: Listed
    b: Listed


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """Fresh samples, and what they say.

    Attributes:
        found: The answer.
        answers: By prompt.
        paths: Folders of the fresh samples of A and of B.
        notes: What was left out.
    """

    found: Fluctuation
    answers: dict[str, PromptAnswers]
    paths: tuple[str, str]
    notes: tuple[str, ...]


def fluctuate(
    a: EvalDirectory,
    b: EvalDirectory,
    model_of: Callable[[EvalDirectory], AskedModel],
    *,
    settings: FluctuateSettings | None = None,
    task_types: Iterable[str] | None = None,
    folder: Path,
    incomplete: Incomplete = "error",
    temperature: float | None = None,
    progress: Callable[[str], Progress],
) -> AskedAgain:
    """Choose prompts, ask both versions again, and judge.

    Args:
        a: Evaluation of the earlier version.
        b: Of the later.
        model_of: Loads the model of an evaluation; one is held at a time.
        settings: How many, and how to judge.
        task_types: Only of these.
        folder: Where fresh samples are kept, in one folder per choice.
        incomplete: ``error`` or ``count``: what to do with prompts that have no score.
        temperature: Of the samples; None: as in the evaluations, or 0.7 where these were greedy.
        progress: Given a version's letter, returns what is told how far it is.

    Raises:
        EvaluationError: If nothing regressed, or nothing of it can be asked again.
    """
    settings = settings or FluctuateSettings()
    told = [one.evaluation() for one in (a, b)]
    rows = [one.scored_rows() for one in (a, b)]
    stakes = stakes_of(b, rows)
    seen = compare(
        *rows,
        stakes=stakes,
        settings=CompareSettings(resamples=100, incomplete=incomplete),
    )
    notes = []
    fit = {name for name, of in told[1].task_types.items() if base_name(of.scorer) in SCORERS}
    if unfit := sorted(set(stakes) - fit):
        notes.append(f"Not asked again, since no scorer of answers is theirs: {', '.join(unfit)}.")
    if served := sorted({one.model.name for one in told if one.model.address is not None}):
        notes.append(
            f"At an endpoint: {', '.join(served)}. Whether the weights there are those that were "
            "evaluated cannot be seen from here."
        )
    both = {row.prompt for row in rows[0]} & {row.prompt for row in rows[1]}
    askable = {
        row.prompt: row.task_type for row in rows[1] if row.prompt in both and row.task_type in fit
    }
    chosen = choose(seen, askable, settings, task_types=task_types)
    place = folder / f"fluctuate-{_digest(told, chosen, settings, temperature)}"
    fresh = []
    for letter, directory in (("a", a), ("b", b)):
        suite = _suite(directory, told[1], chosen, letter)
        drawing = _drawing(told[1], settings, temperature)
        model = model_of(directory)
        try:
            fresh.append(
                evaluate(
                    suite, model, place, drawing=drawing, name=letter,
                    progress=progress(letter.upper()),
                )
            )  # fmt: skip
        finally:
            model.close()
    of_a, of_b = (passed_samples(one, stakes, settings.pass_share) for one in fresh)
    found = judge_samples(chosen, of_a, of_b, askable, settings)
    if found.unasked:
        notes.append(f"Left out, with fewer than two scored samples: {', '.join(found.unasked)}.")
    answers = _answers(found, fresh, stakes, settings)
    paths = (str(fresh[0].path), str(fresh[1].path))
    return AskedAgain(found, answers, paths, tuple(notes))


# Inner -----------------------------------------------------------------------------------


def _digest(
    told: Sequence[Evaluation],
    chosen: Chosen,
    settings: FluctuateSettings,
    temperature: float | None,
) -> str:
    """Name a choice, so that the same call goes on and another begins anew."""
    parts = [
        [one.model.fingerprint for one in told],
        told[1].suite_fingerprint,
        asdict(chosen),
        settings.samples,
        settings.seed,
        temperature,
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=5).hexdigest()


def _suite(directory: EvalDirectory, told: Evaluation, chosen: Chosen, letter: str) -> Suite:
    """Make a suite of the chosen prompts, scored as in B; conversations as they went here."""
    wanted = [*chosen.regressions, *chosen.controls]
    asked = {
        row.item: row.asked
        for row in directory.answers()
        if row.asked is not None and row.sample == 0
    }
    items: dict[str, Item] = {}
    for item in directory.items():
        if item.id in wanted:
            messages = asked.get(item.id) or item.messages
            items[item.id] = item.model_copy(update={"messages": messages, "follows": None})
    ordered = tuple(items[prompt] for prompt in wanted)
    types = {item.task_type: told.task_types[item.task_type] for item in ordered}
    return Suite(f"{told.suite} again ({letter.upper()})", types, ordered)


def _drawing(told: Evaluation, settings: FluctuateSettings, temperature: float | None) -> Drawing:
    """Draw as the evaluations did, but never greedily; seeds begin behind theirs."""
    given = told.sampling
    was_greedy = bool(given.get("greedy"))

    def value(name: str, otherwise: float) -> float:
        found = given.get(name)
        return float(found) if isinstance(found, int | float) and not was_greedy else otherwise

    length = given.get("max_new_tokens")
    sampling = Sampling(
        max_new_tokens=int(length) if isinstance(length, int) else MAX_NEW_TOKENS,
        temperature=value("temperature", TEMPERATURE) if temperature is None else temperature,
        top_p=value("top_p", TOP_P),
    )
    first = max(told.seeds, default=0) + 1 + settings.seed
    return Drawing(replace(sampling, seed=first), tuple(range(first, first + settings.samples)))


def _answers(
    found: Fluctuation,
    fresh: Sequence[EvalDirectory],
    stakes: Any,
    settings: FluctuateSettings,
) -> dict[str, PromptAnswers]:
    """Read what was answered, equal answers together, the most frequent first."""
    wanted = {one.prompt for one in found.prompts}
    counted: list[dict[str, Counter[tuple[bool | None, str]]]] = []
    for directory in fresh:
        types = directory.evaluation().task_types
        passed: dict[tuple[str, int], bool | None] = {}
        for row in directory.scores():
            if row.scorer != types[row.task_type].scorer:
                continue
            of = stakes[row.task_type]
            share = None if row.value is None else (row.value - of.low) / (of.high - of.low)
            passed[row.item, row.sample] = None if share is None else share >= settings.pass_share
        counts: dict[str, Counter[tuple[bool | None, str]]] = {one: Counter() for one in wanted}
        for answer in directory.answers():
            if answer.item in wanted:
                key = (passed.get((answer.item, answer.sample)), answer.text or "")
                counts[answer.item][key] += 1
        counted.append(counts)

    def listed(
        counts: Counter[tuple[bool | None, str]],
    ) -> tuple[tuple[bool | None, int, str], ...]:
        return tuple((passed, count, text) for (passed, text), count in counts.most_common())

    items = {item.id: item for item in fresh[1].items()}
    return {
        prompt: PromptAnswers(
            text_of(items[prompt].messages[-1]),
            items[prompt].reference,
            listed(counted[0][prompt]),
            listed(counted[1][prompt]),
        )
        for prompt in sorted(wanted)
    }
