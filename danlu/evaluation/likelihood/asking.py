"""Asking for every log-probability that a suite's scorers read, each once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from danlu.evaluation.asking.model import message_of
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.likelihood.scorers import LIKELIHOODS, make_likelihood
from danlu.evaluation.schema import Failure, Item, LikelihoodRow, TypeStakes
from danlu.evaluation.scoring import names_of
from danlu.evaluation.suites.stakes import base_name

if TYPE_CHECKING:
    from danlu.evaluation.likelihood.forest import LikelihoodModel


def wanted_of(item: Item, stakes: TypeStakes) -> dict[str, str]:
    """Return the texts of an item whose probability its scorers read, by key."""
    found: dict[str, str] = {}
    for name in names_of(stakes):
        if base_name(name) in LIKELIHOODS:
            scorer = make_likelihood(base_name(name), stakes.settings.get(name))
            found |= scorer.options(item)
    return found


def ask_likelihoods(
    directory: EvalDirectory,
    model: LikelihoodModel,
    progress: Callable[[str, int, int], None],
) -> None:
    """Compute what is not there yet, and write each down as soon as it is known."""
    from danlu.evaluation.likelihood.forest import Found, Wanted

    types = directory.evaluation().task_types
    there = {(row.item, row.option) for row in directory.likelihoods()}
    rows: list[tuple[Item, str, str]] = []
    groups: list[int] = []
    total = 0
    for number, item in enumerate(directory.items()):
        for key, text in wanted_of(item, types[item.task_type]).items():
            total += 1
            if (item.id, key) not in there:
                rows.append((item, key, text))
                groups.append(number)
    done = total - len(rows)
    progress("log-probabilities", done, total)

    def hear(place: int, found: Found) -> None:
        nonlocal done
        item, key, text = rows[place]
        failure = None
        if found.logprob is None:
            failure = Failure(
                kind="too_long" if "context" in found.problem else "refused", message=found.problem
            )
        row = LikelihoodRow(
            item=item.id,
            option=key,
            text=text,
            logprob=found.logprob,
            tokens=found.tokens,
            failure=failure,
        )
        directory.append_likelihoods([row])
        done += 1
        progress("log-probabilities", done, total)

    wanted = [
        Wanted(tuple(message_of(dict(row)) for row in item.messages), text)
        for item, _, text in rows
    ]
    if wanted:
        model.logprobs(wanted, hear, groups)
