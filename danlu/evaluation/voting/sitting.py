"""One person's sitting: the next ballot, a verdict, undo. It can be left and gone on with."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.store.votes import Verdict, Vote, cast, take_back, votes
from danlu.evaluation.voting.ballots import Ballot


class Sitting:
    """Ballots, one after another; every verdict is in the store before the next is shown.

    What the voter has decided before, on these evaluations or on others with the same answers, is
    not asked again. What was skipped comes again, after the rest.

    Args:
        store: Where votes are kept.
        voter: Who votes.
        ballots: In their order.
        clock: Tells seconds; another one for tests.

    Attributes:
        remembered: Ballots decided in earlier sittings.
    """

    def __init__(
        self,
        store: EvalStore,
        voter: str,
        ballots: Sequence[Ballot],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not voter.strip():
            raise EvaluationError("has no name; give one by --voter.", where="voter")
        self.store, self.voter = store, voter
        self._clock = clock
        by_subject = {ballot.subject: ballot for ballot in ballots}
        cast_before = votes(store, voter=voter)
        decided = [v.subject for v in cast_before if v.verdict != "skip"]
        skipped = {v.subject for v in cast_before if v.verdict == "skip"}
        self._done = [by_subject[one] for one in decided if one in by_subject]
        self.remembered = len(self._done)
        known = {ballot.subject for ballot in self._done}
        left = [ballot for ballot in ballots if ballot.subject not in known]
        self._open = deque(sorted(left, key=lambda ballot: ballot.subject in skipped))
        self._shown_at = clock()

    @property
    def current(self) -> Ballot | None:
        """Return the ballot to decide on; None when all are decided."""
        return self._open[0] if self._open else None

    @property
    def done(self) -> int:
        """Return how many ballots are decided or skipped, in this and earlier sittings."""
        return len(self._done)

    @property
    def total(self) -> int:
        """Return how many ballots there are."""
        return len(self._done) + len(self._open)

    def decide(self, verdict: Verdict, *, seconds: float | None = None) -> None:
        """Keep a verdict on the current ballot, and go on to the next.

        Args:
            verdict: Which.
            seconds: From showing to the verdict, where the front has measured it; None: since this
                sitting has shown the ballot.

        Raises:
            EvaluationError: If there is no ballot left, or it does not take this verdict.
        """
        ballot = self.current
        if ballot is None:
            raise EvaluationError("there is nothing left to vote on.")
        if verdict not in ballot.verdicts:
            raise EvaluationError(
                f"no such verdict.{did_you_mean(verdict, ballot.verdicts)}", where=verdict
            )
        if seconds is None:
            seconds = self._clock() - self._shown_at
        cast(
            self.store,
            Vote(
                voter=self.voter,
                subject=ballot.subject,
                left=ballot.left.key,
                verdict=verdict,
                task_type=ballot.item.task_type,
                item=ballot.item.id,
                sources=ballot.sources,
                seconds=seconds,
            ),
        )
        self._done.append(self._open.popleft())
        self._shown_at = self._clock()

    def undo(self) -> bool:
        """Take the last verdict back and show its ballot again; False if there is none.

        Of an earlier sitting too, the last one first.
        """
        if not self._done:
            return False
        ballot = self._done.pop()
        take_back(self.store, self.voter, ballot.subject)
        self._open.appendleft(ballot)
        self._shown_at = self._clock()
        return True
