"""Diversity of how prompts are put: openings, distinct n-grams, and the Vendi score.

A model that has seen a task in one wording does it in that wording.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.counting import Commonest, text_key
from danlu.workshop.checks.per_type import percent, too_few, verdict_of
from danlu.workshop.checks.sample import Sample
from danlu.workshop.checks.similarity import distinct_ngrams, similarities, vendi_score
from danlu.workshop.checks.view import Head, View
from danlu.workshop.likeness.text import units
from danlu.workshop.store.decision import Scalar

PRACTICE = "practitioners' reports, 2023-2024: keep task descriptions short and varied"
N = 3
KEPT_CHARACTERS = 1500
"""Of a sampled prompt; so many characters are enough units to be compared by."""


@dataclass(frozen=True, slots=True)
class PromptExpression:
    """Checks how varied the wording of a task type's prompts is."""

    name: ClassVar[str] = "expression"
    finds: ClassVar[str] = "prompts that are all put alike"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "begin_alike",
            "attention",
            "many prompts begin with the same words: the template is learned, not the task",
            "Write the task in ten or more ways, or put the description into a system prompt.",
            of="task_type",
            limit="opening_share",
            source=PRACTICE,
        ),
        Rule(
            "few_ngrams",
            "attention",
            "the prompts of the sample share most of their wording",
            "Vary the wording, and take contents from more sources.",
            of="task_type",
            limit="least_distinct",
            source="distinct-n: Li et al. 2016, arXiv:1510.03055",
        ),
        Rule(
            "low_vendi",
            "attention",
            "the sample is worth a small part of its number in different prompts",
            "Drop near-duplicates of prompts, and write more different ones.",
            of="task_type",
            limit="least_vendi",
            source="Friedman and Dieng 2022, arXiv:2210.02410",
        ),
    )

    opening_share: float = setting(0.3, "Most of the prompts that may begin alike.")
    opening_units: int = setting(6, "How many units an opening has.")
    least_distinct: float = setting(
        0.3, "Least share of different ones among the sample's 3-grams of units."
    )
    least_vendi: float = setting(0.1, "Least Vendi score, as a share of the sample.")
    sample: int = setting(256, "Prompts per task type that are held against one another.")

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self)


class _Prompts:
    def __init__(self, sample: int) -> None:
        self.total = 0
        self.openings = Commonest()
        self.sample: Sample[str] = Sample(sample)


class _Run:
    def __init__(self, check: PromptExpression) -> None:
        self._check = check
        self._prompts: defaultdict[str, _Prompts] = defaultdict(lambda: _Prompts(check.sample))

    def look(self, view: View) -> tuple[str, str] | None:
        """Return a prompt's opening, and as much of it as is kept; empty where it has none."""
        for turn in view.turns[:1]:
            found, length = turn.prompt_units, self._check.opening_units
            opening = " ".join(found[:length]) if len(found) >= length else ""
            return opening, turn.folded_prompt[:KEPT_CHARACTERS] if found else ""
        return None

    def take(self, head: Head, seen: tuple[str, str] | None) -> Iterable[Finding]:
        prompts = self._prompts[head.task_type]
        if seen is None:
            return ()
        opening, kept = seen
        prompts.total += 1
        if opening:
            prompts.openings.add(text_key(opening), opening)
        if kept and prompts.sample.wants(head.draw):
            prompts.sample.add(head.draw, kept)
        return ()

    def finish(self) -> Report:
        return Report((), [self._verdict(*pair) for pair in self._prompts.items()])

    def _verdict(self, task_type: str, prompts: _Prompts) -> Verdict:
        if few := too_few(self._check, task_type, prompts.total):
            return few
        texts = [units(text) for text in prompts.sample.items()]
        # A prompt shorter than an opening begins like none other.
        opening = prompts.openings.most()
        figures: dict[str, Scalar] = {
            "prompts": prompts.total,
            "commonest_opening_share": opening.times / prompts.total,
            "distinct_3": distinct_ngrams(texts, N),
            "vendi_score": vendi_score(similarities(texts)) if texts else None,
            "sample": len(texts),
        }
        broken = self._broken(figures, opening.example)
        return verdict_of(self._check, task_type, figures, broken)

    def _broken(self, figures: dict[str, Scalar], opening: str) -> Iterator[tuple[str, str]]:
        check = self._check
        share = float(figures["commonest_opening_share"] or 0)
        if share > check.opening_share:
            yield "begin_alike", f"{percent(share)} of the prompts begin with {opening!r}."
        distinct = figures["distinct_3"]
        if distinct is not None and float(distinct) < check.least_distinct:
            yield (
                "few_ngrams",
                f"Of the 3-grams of {figures['sample']} prompts {percent(float(distinct))} are "
                "different.",
            )
        vendi, sample = figures["vendi_score"], int(figures["sample"] or 0)
        if vendi is not None and float(vendi) < check.least_vendi * sample:
            yield (
                "low_vendi",
                f"{sample} prompts are worth {float(vendi):.1f} different ones (Vendi score).",
            )
