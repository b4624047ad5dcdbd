"""Commands in findings: written with RUN and DATA, told with what they are here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from danlu.runs import Resolved
from danlu.runs.findings import Evidence, Finding, Remedy

_PLACE = re.compile(r"\b(?:RUN|DATA)\b")


def first_source(resolved: Resolved | None) -> str | None:
    """Return what a run's recipe names first as training data; None if that is not known."""
    sources = resolved.recipe.get("data", {}).get("train") if resolved else None
    return str(sources[0]["path"]) if sources else None


def told(findings: Iterable[Finding], run: str, data: str | None) -> tuple[Finding, ...]:
    """Write the run and its data into the commands of findings.

    Args:
        findings: Their commands say RUN and DATA.
        run: The run directory.
        data: What the recipe names as training data; None leaves DATA.
    """
    names = {"RUN": run} | ({"DATA": data} if data else {})

    def filled(command: str) -> str:
        # Only up to the first quoted text, in which RUN would be a user's own word.
        own, quote, rest = command.partition("'")
        put = _PLACE.sub(lambda match: shlex.quote(names.get(match[0], match[0])), own)
        return put + quote + rest

    def evidence(one: Evidence) -> Evidence:
        return one.model_copy(update={"command": filled(one.command)}) if one.command else one

    def remedy(one: Remedy) -> Remedy:
        return one.model_copy(update={"commands": tuple(map(filled, one.commands))})

    return tuple(
        finding.model_copy(
            update={
                "evidence": tuple(map(evidence, finding.evidence)),
                "remedies": tuple(map(remedy, finding.remedies)),
            }
        )
        for finding in findings
    )
