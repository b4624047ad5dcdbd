"""Training and asking for real; what was done before is known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from danlu.diagnosis.asking import Progress
from danlu.diagnosis.squeeze.plan import Wish
from danlu.diagnosis.squeeze.questions import questions_of
from danlu.diagnosis.squeeze.scores import Asking, Scores, asking_of
from danlu.diagnosis.subject import Subject
from danlu.diagnosis.sweep.trials import Pace, Trial, is_done, train_trial


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass(eq=False)
class RealMeasurer:
    """Trains trials one after another, and asks what they have made.

    Attributes:
        wish: Says what is asked.
        pace: Whether there is time for one more.
        device: Where models answer.
        told: Hears what is being done.
        asking: Opens what is told how far the questions are, while they are asked.
        progress: Show the bar of each training.
        shared: Where prepared data are kept for all runs.
    """

    wish: Wish
    pace: Pace = field(default_factory=Pace)
    device: str = "auto"
    told: Callable[[str], None] = _silent
    asking: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(_silent)
    progress: bool = True
    shared: Path | None = None
    _known: Asking | None = field(default=None, init=False)

    def measure(self, trial: Trial) -> Scores | None:
        """Train, unless that was done, and ask; None if there is no time for it."""
        known = is_done(trial)
        if not known and not self.pace.allows_another():
            return None
        self.told(f"{trial.recipe.name}{': trained already' if known else ''}")
        if known:
            return self._scores(trial)
        with self.pace.timed():
            train_trial(trial, progress=self.progress, shared=self.shared)
            return self._scores(trial)

    def before(self) -> Scores:
        """Return what the model before training came to; after the first trial."""
        assert self._known is not None
        return self._known.before

    @property
    def source(self) -> str:
        """Where the target's questions are from; after the first trial."""
        assert self._known is not None
        return self._known.questions.source

    def _scores(self, trial: Trial) -> Scores:
        with self.asking() as progress:
            subject = Subject.open(trial.run, device=self.device, progress=progress)
            if self._known is None:
                self._known = asking_of(questions_of(subject, self.wish), subject.base)
            found = self._known.of(subject.tuned)
            subject.release()
        return found
