"""What the quickstart reached, and whether that is enough."""

from __future__ import annotations

from dataclasses import asdict, dataclass

IDENTITY_SHARE = 0.9
"""Share of the held-out identity questions to be answered with the new name."""

GENERAL_LOSS = 1
"""General questions that may be lost against before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Right answers to held-out questions before and after training.

    Attributes:
        identity_before: Identity questions answered with the new name before training.
        identity_after: The same, after.
        identity_total: Identity questions asked.
        general_before: General questions answered rightly before training.
        general_after: The same, after.
        general_total: General questions asked.
        train_seconds: Time spent training.
    """

    identity_before: int
    identity_after: int
    identity_total: int
    general_before: int
    general_after: int
    general_total: int
    train_seconds: float

    def as_dict(self) -> dict[str, int | float]:
        """Return the figures as they stand in ``summary.json`` under ``quickstart``."""
        return asdict(self)

    def shortfalls(self) -> list[str]:
        """Say in a sentence each what was not reached; empty if all was.

        Example:
            >>> Outcome(0, 20, 20, 16, 15, 20, 60.0).shortfalls()
            []
            >>> Outcome(0, 12, 20, 16, 16, 20, 60.0).shortfalls()
            ['12 of 20 identity questions were answered with the new name; the goal is 18.']
        """
        missed = []
        needed = IDENTITY_SHARE * self.identity_total
        if self.identity_after < needed:
            missed.append(
                f"{self.identity_after} of {self.identity_total} identity questions were answered "
                f"with the new name; the goal is {needed:.0f}."
            )
        if self.general_after < self.general_before - GENERAL_LOSS:
            missed.append(
                f"{self.general_before - self.general_after} general answers were lost; the goal "
                f"is at most {GENERAL_LOSS}."
            )
        return missed
