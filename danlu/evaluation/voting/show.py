"""What came of votes, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from danlu.evaluation.voting.results import Agreement, Usable, Voter

USABLE_COLUMNS = ("task type", "answers", "usable", "95 % interval", "undecided")
VOTER_COLUMNS = ("voter", "votes", "skipped", "chose left", "seconds", "kappa with the others")
AGREEMENT_COLUMNS = ("task type", "voters", "kappa", "ballots")


def usable_cells(outcomes: Mapping[str, Usable]) -> Iterator[tuple[str, ...]]:
    """Give a row per task type: what ``USABLE_COLUMNS`` names."""
    for name, of in outcomes.items():
        yield (
            name or "all",
            f"{of.answers}",
            f"{of.usable / of.answers:.3f}" if of.answers else "",
            f"{of.low:.3f} to {of.high:.3f}" if of.answers else "",
            f"{of.undecided}" if of.undecided else "",
        )


def voter_cells(voters: Sequence[Voter]) -> Iterator[tuple[str, ...]]:
    """Give a row per voter: what ``VOTER_COLUMNS`` names."""
    for of in voters:
        yield (
            of.name,
            f"{of.votes}",
            f"{of.skipped}",
            f"{of.left} of {of.decided}" if of.decided else "",
            f"{of.seconds:.1f}",
            "" if not of.shared else f"{_kappa(of.kappa)} ({of.shared} ballots)",
        )


def agreement_cells(agreements: Mapping[str, Agreement]) -> Iterator[tuple[str, ...]]:
    """Give a row per task type and pair of voters, and one of all voters (Fleiss)."""
    for name, of in agreements.items():
        for (one, two), (kappa, ballots) in of.cohen.items():
            if ballots:
                yield name or "all", f"{one}, {two}", _kappa(kappa), f"{ballots}"
        if len(of.cohen) > 1 and of.ballots:
            yield name or "all", "all (Fleiss)", _kappa(of.fleiss), f"{of.ballots}"


def contrary_lines(voters: Sequence[Voter]) -> Iterator[str]:
    """Name voters who agree with the others less than chance."""
    for of in voters:
        if of.contrary:
            yield (
                f"{of.name} agrees with the others less than chance would: look at these votes; "
                "some people vote the other way round, by mistake or on purpose"
            )


def _kappa(kappa: float | None) -> str:
    return "undefined" if kappa is None else f"{kappa:.2f}"
