"""The probes that ``danlu diagnose`` asks, in one list.

Adding one is one file, its test, and one entry here. An entry imports its probe when it is made, so
that torch is loaded only for the probes that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from danlu.diagnosis.probe import Probe
from danlu.errors import RunError, did_you_mean


@dataclass(frozen=True)
class Known:
    """A probe that can be asked about any run, without further arguments.

    Attributes:
        name: As in ``danlu probe NAME``.
        says: What it finds, in a line.
        asks_models: Whether it loads a model; if not, it answers in seconds.
        make: Makes the probe with its default settings.
    """

    name: str
    says: str
    asks_models: bool
    make: Callable[[], Probe]


def _curves() -> Probe:
    from danlu.diagnosis.curves import Curves

    return Curves()


def _inputs() -> Probe:
    from danlu.diagnosis.inputs import Inputs

    return Inputs()


def _fit() -> Probe:
    from danlu.diagnosis.fit.probe import Fit

    return Fit()


def _template() -> Probe:
    from danlu.diagnosis.template import Template

    return Template()


def _forgetting() -> Probe:
    from danlu.diagnosis.forgetting.probe import Forgetting

    return Forgetting()


def _hallucination() -> Probe:
    from danlu.diagnosis.hallucination import Hallucination

    return Hallucination()


def _memorising() -> Probe:
    from danlu.diagnosis.memorising import Memorising

    return Memorising()


PROBES: Sequence[Known] = (
    Known("inputs", "stop tokens, prompts, copies in what was really taught", False, _inputs),
    Known("curves", "what the loss curves say, in all and per task type", False, _curves),
    Known("template", "whether it is asked as it was trained, and stops", True, _template),
    Known("fit", "whether each task type is learned, and whether it generalises", True, _fit),
    Known("memorising", "what it has by heart", True, _memorising),
    Known("forgetting", "what it could do before and cannot now", True, _forgetting),
    Known("hallucination", "knowledge lost in tuning, or never there", True, _hallucination),
)
"""In the order in which they are asked: those that cost little first."""


def known_probe(name: str) -> Known:
    """Find a probe by its name.

    Raises:
        RunError: If there is none; names the nearest one.
    """
    for known in PROBES:
        if known.name == name:
            return known
    names = [known.name for known in PROBES]
    raise RunError(f"there is no such probe.{did_you_mean(name, names)}", where=name)
