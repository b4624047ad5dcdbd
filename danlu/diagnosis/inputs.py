"""The inputs probe: what a run was really taught, from its prepared tokens; no model is asked.

It looks at the tokens themselves, after the template and with the weights of the loss, so it sees
what became of the data on its way: answers that do not end, prompts that are learned, copies, and
prompts with answers that contradict each other.

Shapes: N tokens, B branches, R records.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from danlu.diagnosis.commands import first_source, told
from danlu.diagnosis.probe import CannotLookError, Examined, Seen, learned_otherwise
from danlu.runs import Resolved, RunDirectory
from danlu.runs.findings import Evidence, Finding, Remedy
from danlu.sequences.prepared import PreparedData

MOST_RECORDS = 50
"""Records that a finding names."""


@dataclass(frozen=True)
class Inputs:
    """Reads the prepared data of a run.

    Attributes:
        least_copies: Share of the records that are copies from which on it is told.
        least_endless: Share of the answers without a stop token, likewise.
        least_conflicts: Share of the records whose prompt has another answer elsewhere, likewise.
        least_prompt: Share of the loss that lies on prompts, likewise.
    """

    name: ClassVar[str] = "inputs"

    least_copies: float = 0.1
    least_endless: float = 0.02
    least_conflicts: float = 0.1
    least_prompt: float = 0.01

    def look(self, examined: Examined) -> Seen:
        """Look at the prepared data.

        Raises:
            CannotLookError: If it is gone, or the objective compares answers.
        """
        run = examined.run
        resolved = run.resolved()
        if resolved is not None and resolved.objective not in ("nll", "distil"):
            raise learned_otherwise(resolved.objective)
        folder = run.path / "prepared" / "train"
        if not folder.is_dir():
            raise CannotLookError(f"the run's prepared data are gone: {folder}")
        data = PreparedData.load(folder)
        documents = resolved is not None and resolved.documents
        stops = _stop_ids(run)
        found: list[Finding] = []
        if not documents:
            found += self._endless(data, stops)
            found += self._prompts(data, resolved)
        found += self._copies(data, documents)
        return Seen(told(found, str(run.path), first_source(resolved)))

    def _endless(self, data: PreparedData, stops: frozenset[int]) -> Iterator[Finding]:
        """Find answers that do not end with a stop token, so that ending is not learned."""
        ends = np.asarray(data.offsets)[1:] - 1
        last = np.asarray(data.input_ids)[ends]
        learned = np.asarray(data.weights)[ends] > 0
        if not stops:
            # The stop token is the one that nearly all answers end with, if there is one.
            stops = frozenset(
                one for one, n in Counter(last.tolist()).items() if n > 0.2 * len(last)
            )
        bad = ~(np.isin(last, list(stops)) & learned)
        share = float(bad.mean())
        if share < self.least_endless:
            return
        records = _ids(data, np.asarray(data.branch_record)[bad])
        yield Finding(
            name="no-stop-token",
            says=f"{share:.0%} of the answers do not end with a stop token that is learned: the "
            "model is not taught to stop.",
            severity="serious" if share > 0.5 else "warning",
            confidence="high",
            evidence=(
                Evidence(
                    says=f"{int(bad.sum()):,} of {data.branches:,} answers end with another token.",
                    figures={"share": share, "answers": data.branches},
                    records=records,
                ),
            ),
            remedies=(
                Remedy(
                    says="Use a template that ends answers with the model's stop token, or do not "
                    "cut answers that are too long.",
                    settings={"sequences.overlong": "drop", "model.template": None},
                ),
            ),
        )

    def _prompts(self, data: PreparedData, resolved: Resolved | None) -> Iterator[Finding]:
        """Find weight on the tokens of prompts."""
        weights = np.asarray(data.weights, np.float64)
        place = np.arange(len(weights)) - np.repeat(data.offsets[:-1], np.diff(data.offsets))
        prompt = place < np.repeat(data.prompt_tokens, np.diff(data.offsets))
        share = float(weights[prompt].sum()) / max(float(weights.sum()), 1e-9)
        if share < self.least_prompt:
            return
        asked = resolved is not None and resolved.recipe.get("sequences", {}).get("train_on_prompt")
        why = "as the recipe says" if asked else "which the recipe does not ask for"
        yield Finding(
            name="prompt-trained",
            says=f"{share:.0%} of the loss lies on the prompts, {why}: the model learns to ask, "
            "and answers have less weight.",
            severity="warning" if asked else "serious",
            confidence="high",
            evidence=(
                Evidence(
                    says=f"{int((weights[prompt] > 0).sum()):,} of {int((weights > 0).sum()):,} "
                    "trained tokens are the prompts'.",
                    figures={"share": share},
                    command="danlu explain DATA",
                ),
            ),
            remedies=(
                Remedy(
                    says="Learn answers only, unless the prompts are what is wanted.",
                    settings={"sequences.train_on_prompt": False},
                ),
            ),
        )

    def _copies(self, data: PreparedData, documents: bool) -> Iterator[Finding]:
        """Find records that are copies of others, and prompts with several answers."""
        groups: defaultdict[bytes, list[int]] = defaultdict(list)
        answers: defaultdict[bytes, defaultdict[bytes, list[int]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for record in range(len(data)):
            branches = data.record(record)
            whole = b"".join(_digest(branch.input_ids) for branch in branches)
            groups[whole].append(record)
            first = branches[0]
            prompt = _digest(first.input_ids[: first.prompt_tokens])
            answers[prompt][whole].append(record)
        copies = [own for own in groups.values() if len(own) > 1]
        extra = sum(len(own) - 1 for own in copies)
        share = extra / max(len(data), 1)
        if share >= self.least_copies:
            yield _copied(data, copies, extra, share)
        if documents:
            return
        several = [list(by.values()) for by in answers.values() if len(by) > 1]
        count = sum(len(own) for group in several for own in group)
        if count >= self.least_conflicts * len(data) and count >= 4:
            yield _conflicting(data, several, count)


def _copied(data: PreparedData, copies: list[list[int]], extra: int, share: float) -> Finding:
    copies = sorted(copies, key=len, reverse=True)
    records = tuple(data.record_ids[one] for own in copies for one in own[1:])[:MOST_RECORDS]
    most = len(copies[0])
    types = Counter(data.channels[int(data.record_channel[own[0]])] for own in copies)
    where = ", ".join(name for name, _ in types.most_common(5))
    return Finding(
        name="duplicates",
        says=f"{share:.0%} of the records are copies of others: an epoch shows them up to {most} "
        "times, so they are learned by heart and the others are heard less.",
        severity="serious" if share >= 0.3 else "warning",
        confidence="high",
        evidence=(
            Evidence(
                says=f"{extra:,} of {len(data):,} records; in {where}.",
                figures={"copies": extra, "share": share, "most": most},
                records=records,
            ),
        ),
        remedies=(Remedy(says="Remove the copies.", commands=("danlu data dedup DATA",)),),
    )


def _conflicting(data: PreparedData, several: list[list[list[int]]], count: int) -> Finding:
    several = sorted(several, key=len, reverse=True)
    records = tuple(data.record_ids[one] for group in several for own in group for one in own)
    share = count / len(data)
    return Finding(
        name="several-answers",
        says=f"{share:.0%} of the records have a prompt that is answered otherwise elsewhere: no "
        "model can learn both, unless variety is wanted.",
        severity="note",
        confidence="medium",
        evidence=(
            Evidence(
                says=f"{len(several):,} prompts with up to {len(several[0])} different answers.",
                figures={"records": count, "prompts": len(several)},
                records=records[:MOST_RECORDS],
            ),
        ),
        remedies=(
            Remedy(
                says="Read them: where they contradict each other, keep one.",
                commands=("danlu data check DATA",),
            ),
        ),
    )


def _stop_ids(run: RunDirectory) -> frozenset[int]:
    """Return the tokens at which the saved model stops; empty if none was saved yet."""
    for folder in (run.adapter_path, run.model_path):
        path = folder / "generation_config.json"
        if path.is_file():
            given = json.loads(path.read_text("utf-8")).get("eos_token_id")
            ids = given if isinstance(given, list) else [given]
            return frozenset(one for one in ids if isinstance(one, int))
    return frozenset()


def _ids(data: PreparedData, records: NDArray[np.int32]) -> tuple[str, ...]:
    chosen = np.unique(records)[:MOST_RECORDS]
    return tuple(data.record_ids[int(one)] for one in chosen)


def _digest(ids: NDArray[np.int32]) -> bytes:
    return hashlib.blake2b(ids.tobytes(), digest_size=12).digest()
