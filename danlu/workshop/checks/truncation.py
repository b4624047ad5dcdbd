"""Truncation: branches longer than the chosen maximum length, in the tokens of the model given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from danlu.config.recipe import SequencesSection
from danlu.sequences.lengths import describe_fit, fit_lengths
from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, Tally
from danlu.workshop.checks.view import Head, View

WITHOUT_TOKENIZER = (
    "Name a model (--model) to count its tokens: characters say too little about them."
)


@dataclass(frozen=True, slots=True)
class Truncation:
    """Finds records that do not fit ``sequences.max_length``, by exact count.

    Not run without a tokenizer and its template.
    """

    name: ClassVar[str] = "truncation"
    finds: ClassVar[str] = "records longer than max_length, which would be cut or left out"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "overlong",
            "attention",
            "a branch is longer than max_length and is left out",
            "Raise sequences.max_length, set sequences.overlong, or split the record.",
            limit="sequences.max_length",
        ),
        Rule(
            "prompt_cut",
            "attention",
            "a branch is longer than max_length and its prompt is cut at the beginning",
            "Raise sequences.max_length: instructions often stand at the beginning.",
            limit="sequences.max_length",
        ),
        Rule(
            "answer_cut",
            "fault",
            "a branch is longer than max_length and its answer is cut: the model learns not to end",
            "Raise sequences.max_length, or set sequences.overlong to drop.",
            limit="sequences.max_length",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self, context)


class _Run:
    def __init__(self, check: Truncation, context: Context) -> None:
        self._check = check
        self._settings: SequencesSection = context.sequences
        self._has_tokenizer = context.tokenizer is not None
        self._tally = Tally(check)
        self._task_types: dict[str, None] = {}
        self._longest: defaultdict[str, int] = defaultdict(int)

    def look(self, view: View) -> tuple[int, int] | None:
        if not view.lengths:
            return None
        longest = max(view.lengths, key=lambda one: one.prompt + one.completion)
        return longest.prompt, longest.completion

    def take(self, head: Head, seen: tuple[int, int] | None) -> Iterable[Finding]:
        self._task_types[head.task_type] = None
        if not self._has_tokenizer:
            return ()
        self._tally.count(head.task_type, seen is not None)
        if seen is None:
            return ()
        tokens = sum(seen)
        self._longest[head.task_type] = max(self._longest[head.task_type], tokens)
        if tokens <= self._settings.max_length:
            return ()
        return self._tally.findings(head, [self._hit(*seen)])

    def _hit(self, prompt: int, completion: int) -> Hit:
        fit = fit_lengths(np.array([prompt]), np.array([completion]), self._settings)
        kept = bool(fit.keep[0])
        _, detail = describe_fit(kept, prompt, completion, self._settings)
        rule = "overlong"
        if kept:
            rule = "prompt_cut" if fit.from_prompt[0] else "answer_cut"
        return Hit(rule, prompt + completion, self._settings.max_length, detail)

    def finish(self) -> Report:
        name = self._check.name
        if not self._has_tokenizer:
            verdicts = [
                Verdict(one, name, "not_run", {}, WITHOUT_TOKENIZER) for one in self._task_types
            ]
            return Report((), verdicts)
        return Report((), [self._with_longest(one) for one in self._tally.verdicts()])

    def _with_longest(self, verdict: Verdict) -> Verdict:
        if verdict.state == "exempt":
            return verdict
        figures = {**verdict.figures, "longest_tokens": self._longest[verdict.task_type]}
        return Verdict(verdict.task_type, verdict.check, verdict.state, figures, verdict.advice)
