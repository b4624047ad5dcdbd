"""Errors that are a user's to mend, and the help that goes with them.

Every error raised for a user's mistake derives from ``DanluError``; the command line prints
its text without a traceback. Anything else that escapes is a fault in Danlu.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DanluError(Exception):
    """What was given, what was allowed, what to do, and where.

    Args:
        message: One or two sentences: the thing, the limit, the remedy.
        where: File and line, record id or setting path; printed before the message.

    Example:
        >>> print(DanluError("is 0; it must be at least 2.", where="sequences.max_length"))
        sequences.max_length: is 0; it must be at least 2.
    """

    def __init__(self, message: str, *, where: str | None = None) -> None:
        self.message = message
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


class RecipeError(DanluError):
    """A recipe that cannot be read: unknown key, bad value, or settings that exclude each other."""


class RecordError(DanluError):
    """A record or a data file that cannot be read."""


class StoreError(DanluError):
    """A dataset version, or a name of one, that cannot be found, read or made."""


class TemplateError(DanluError):
    """A chat template that cannot be found, rendered, or trained exactly."""


class ModelError(DanluError):
    """A model that cannot be found, read, or tuned as asked."""


class RunError(DanluError):
    """A run directory that is missing, incomplete, or belongs to something else."""


class EvaluationError(DanluError):
    """Scores that cannot be compared: none, a missing one, or other prompts on each side."""


class TrainingError(DanluError):
    """Training that had to stop: a non-finite loss, nothing to learn, other data on resume."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name most like ``name``, or None if none is close.

    Example:
        >>> nearest("learnig_rate", ["learning_rate", "epochs"])
        'learning_rate'
    """
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for a near miss, or all allowed names for a far one.

    Example:
        >>> did_you_mean("alpca", ["alpaca", "sharegpt"])
        " Did you mean 'alpaca'?"
        >>> did_you_mean("zzz", ["alpaca", "sharegpt"])
        ' Allowed: alpaca, sharegpt.'
    """
    allowed = sorted(allowed)
    match = nearest(name, allowed)
    return f" Did you mean {match!r}?" if match else f" Allowed: {', '.join(allowed)}."
