"""A model that is asked which task type a record is of; it may name one of the taxonomy or none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import regex

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Record
from danlu.workshop.likeness.text import fold, has_han
from danlu.workshop.operations.label import BY_MODEL, Proposal
from danlu.workshop.produce.common import Asking, Rejects, answer_of, turns
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.taxonomy import Taxonomy

NONE = "none"
_NONE = frozenset({"none", "none of these", "无", "没有", "都不是", "以上都不是"})
LONGEST_SHOWN = 2000
"""Characters of a conversation and of an answer that are shown; a task type needs no more."""


@dataclass(frozen=True)
class AskedTypes:
    """Asks a model for task types, several times for each record.

    Each time the types stand in another order, so that no place in the list wins by itself. An
    answer that names none of them, or two, agrees with nothing. The confidence is the share of all
    samples that name the commonest type.

    Attributes:
        asking: Who is asked.
        taxonomy: The task types that there are, with their descriptions.
        samples: How often each record is asked about.
        sampling: How answers are drawn.
        prompts: How it is asked: the prompt ``label``.
        seed: Of the orders.
        rejects: What the model said that names no type.

    Raises:
        DanluError: If there are no types, or no samples.
    """

    asking: Asking
    taxonomy: Taxonomy
    samples: int = 5
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=512))
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(default_factory=Rejects, compare=False)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise DanluError(f"samples is {self.samples}; it must be at least 1.")
        if not self.taxonomy.skills:
            raise DanluError("a model can only choose among task types: give a taxonomy.")

    def settings(self) -> dict[str, Any]:
        """Return what shapes the proposals; the taxonomy is a setting of the label operation."""
        return {
            "asking": self.asking.settings(),
            "samples": self.samples,
            "max_new_tokens": self.sampling.max_new_tokens,
            "temperature": 0.0 if self.sampling.greedy else self.sampling.temperature,
            "prompts": self.prompts.settings(),
            "seed": self.seed,
        }

    def propose(self, records: Sequence[Record]) -> list[Proposal | None]:
        """Return a proposal for each record; None where most samples name no type."""
        requests = [self._request(one, k) for one in records for k in range(self.samples)]
        outcomes = iter(self.asking.ask(requests))
        found: list[Proposal | None] = []
        for record in records:
            votes: Counter[str] = Counter()
            for _ in range(self.samples):
                outcome = next(outcomes)
                said = outcome.text if isinstance(outcome, Reply) else outcome.reason
                name = named_type(said, self.taxonomy.skills)
                if name is None or not isinstance(outcome, Reply):
                    self.rejects.add("no task type", said, record.id)
                else:
                    votes[name] += 1
            found.append(self._proposal(votes))
        return found

    def _proposal(self, votes: Counter[str]) -> Proposal | None:
        if not votes:
            return None
        name = max(votes, key=lambda one: (votes[one], one))
        return None if name == NONE else Proposal(name, votes[name] / self.samples, BY_MODEL)

    def _request(self, record: Record, sample: int) -> Request:
        skills = list(self.taxonomy.skills.values())
        random.Random(f"{self.seed}/{record.id}/{sample}").shuffle(skills)
        said = [
            {"role": one.role, "content": (one.content or "")[-LONGEST_SHOWN:]}
            for one in turns(record)
            if one.content
        ]
        answer = answer_of(record)
        if answer:
            said.pop()
        language = language_of(" ".join(one["content"] for one in said) or answer)
        messages = self.prompts.render(
            "label", language, skills=skills, messages=said, answer=answer[:LONGEST_SHOWN]
        )
        return Request(messages, self.sampling, sample, record.id)


def named_type(text: str, names: Collection[str]) -> str | None:
    """Return the one task type that an answer names, ``none`` if it says so, None if neither.

    Example:
        >>> names = ["code/c", "code/cpp", "writing/poem"]
        >>> named_type("**Code/C**.", names), named_type("诗歌：writing/poem", names)
        ('code/c', 'writing/poem')
        >>> named_type("poem", names), named_type("None.", names)
        ('writing/poem', 'none')
        >>> named_type("code/c or code/cpp", names), named_type("a song", names)
        (None, None)
    """
    said = fold(text).strip(" \n.。*`\"'“”")
    if said in _NONE:
        return NONE
    found = [one for one in names if _stands(fold(one), said)]
    if not found:
        found = [one for one in names if fold(one.partition("/")[2]) == said]
    # Chinese has no borders of words: of 客服/退款 and 客服/退款申请, the longer one stands there.
    within = [a for a in found for b in found if a != b and a in b and has_han(a)]
    found = [one for one in found if one not in within]
    return found[0] if len(found) == 1 else None


def _stands(name: str, text: str) -> bool:
    """Whether a name stands in a text by itself, not within a longer one."""
    han = r"\p{Han}"
    before = "/" if regex.match(han, name) else "a-z0-9_/-"
    after = "/" if regex.search(f"{han}$", name) else "a-z0-9_/-"
    pattern = f"(?<![{before}]){regex.escape(name)}(?![{after}])"
    return regex.search(pattern, text) is not None
