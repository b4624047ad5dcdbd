"""Other people's files of questions as they are: one file per format, and this list of them.

A format says which columns it knows itself by, turns rows into items, and says how its task types
are scored. Adding one is one file, its test, and one line in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from danlu.evaluation.suites.formats.alignbench import ALIGNBENCH
from danlu.evaluation.suites.formats.choices import CHOICES
from danlu.evaluation.suites.formats.foreign import Foreign
from danlu.evaluation.suites.formats.gsm8k import GSM8K
from danlu.evaluation.suites.formats.humaneval import HUMANEVAL
from danlu.evaluation.suites.formats.mt_bench import MT_BENCH

FORMATS: Mapping[str, Foreign] = {
    one.name: one for one in (ALIGNBENCH, MT_BENCH, GSM8K, HUMANEVAL, CHOICES)
}


def recognised(path: Path) -> Foreign | None:
    """Return the format that a file is in, by its first row; None if none is known.

    Raises:
        EvaluationError: If the file cannot be read.
    """
    return next((one for one in FORMATS.values() if one.fits(path)), None)


__all__ = ["FORMATS", "Foreign", "recognised"]
