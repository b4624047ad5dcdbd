"""A mix of sources by their shares of the tokens.

Domain knowledge forgets general skill when it is all that is trained, so it is mixed with general
data: 10 to 20 % of the mix is practitioners' usual share for knowledge (reports of 2023-2024).
Sources are thinned out to reach the shares asked for; nothing is repeated.

Shapes: S sources, R records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from danlu.errors import RecipeError
from danlu.sequences.prepared import PreparedData

Int64 = NDArray[np.int64]


def wanted_shares(shares: Sequence[float | None]) -> list[float | None]:
    """Check the shares of a recipe's sources.

    Args:
        shares: Of each source; None for one that fills what the others leave.

    Returns:
        The same, but all None if there is nothing to mix.

    Raises:
        RecipeError: If they come to more than 1, or to another sum than 1 with none to fill it.

    Example:
        >>> wanted_shares([0.2, None])
        [0.2, None]
    """
    given = [share for share in shares if share is not None]
    if not given:
        return list(shares)
    total = sum(given)
    fills = len(given) < len(shares)
    if total > 1 + 1e-9 or (fills and total >= 1):
        raise RecipeError(
            f"the shares come to {total:g}; together they must be less than 1, so that the sources "
            "without one have a part."
            if fills
            else f"the shares come to {total:g}; they must come to 1.",
            where="data.train",
        )
    if not fills and total < 1 - 1e-9:
        raise RecipeError(
            f"the shares come to {total:g}; they must come to 1, or leave one source without a "
            "share to fill the rest.",
            where="data.train",
        )
    return list(shares)


def mixed_records(
    prepared: PreparedData, source: Int64, shares: Sequence[float | None], seed: int
) -> Int64:
    """Choose the records of a mix: as many as the scarcest source allows.

    Args:
        prepared: Records of all sources.
        source: ``(R,)``: the source of each record, from 0.
        shares: ``(S,)``: share of the tokens of each source; None fills the rest, in proportion.
        seed: Another seed chooses other records.

    Returns:
        int64: indices of the chosen records, rising.

    Raises:
        RecipeError: If a source with a share has no token to train.

    Example:
        Of 100 and 100 tokens at shares of 0.2 and the rest, 25 and 100 are taken.
    """
    lengths = np.diff(prepared.offsets)
    tokens = np.add.reduceat(lengths, np.asarray(prepared.record_offsets[:-1]))
    # Sources that fill the rest are one group, which is thinned out evenly.
    group = np.array([-1 if share is None else number for number, share in enumerate(shares)])
    given = {number: share for number, share in enumerate(shares) if share is not None}
    rest = 1 - sum(given.values())
    wanted = {**given, **({-1: rest} if -1 in group else {})}
    of_record = group[source]
    totals = {number: int(tokens[of_record == number].sum()) for number in wanted}
    for number, total in totals.items():
        if not total:
            where = "data.train" if number < 0 else f"data.train[{number}]"
            raise RecipeError("no record of it is left to be mixed.", where=where)
    size = min(totals[number] / share for number, share in wanted.items() if share > 0)
    chosen = []
    for number, share in wanted.items():
        own = np.flatnonzero(of_record == number)
        order = own[np.random.default_rng([seed, number + 1]).permutation(len(own))]
        # As many as come nearest to the share, and at least one.
        reached = np.cumsum(tokens[order])
        count = int(np.searchsorted(reached, share * size * (1 - 1e-12))) + 1
        chosen.append(order[: min(count, len(order))])
    return np.sort(np.concatenate(chosen))
