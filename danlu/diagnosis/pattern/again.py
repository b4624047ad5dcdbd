"""What the probe has found once, used again: the cut made, the drafts answered by another model."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from danlu.diagnosis.pattern.cut import ADD_FILE, Applied, apply_cut, write_additions
from danlu.diagnosis.pattern.probe import PatternProbe
from danlu.diagnosis.pattern.rewording import Ask, answered
from danlu.diagnosis.subject import Subject
from danlu.errors import RunError
from danlu.records import read_records
from danlu.runs.findings import FOLDER, ProbeReport, read_probes
from danlu.workshop.store.store import Store


def report_of(run: Path, probe: PatternProbe) -> ProbeReport | None:
    """Return what the probe has found in a run with these settings; None if it has not looked."""
    settings = json.loads(json.dumps(asdict(probe)))
    for report in read_probes(run):
        if report.probe == probe.name and report.settings == settings:
            return report
    return None


def apply_found(run: Path, store: Store, name: str) -> Applied:
    """Leave the records out that the probe has proposed.

    Args:
        run: The run directory.
        store: Where the version is made.
        name: Shall point to it.

    Raises:
        RunError: If nothing was proposed.
        DanluError: If the data cannot be read any more.
    """
    found = next((one for one in read_probes(run) if one.probe == PatternProbe.name), None)
    cut = found.figures.get("cut") if found else None
    if not found or not isinstance(cut, list) or not cut:
        raise RunError(
            "no records were proposed to be left out, so that nothing was applied.", where=str(run)
        )
    subject = Subject.open(run)
    ids = [str(one) for one in cut]
    reason = str(found.figures["reason"])
    return apply_cut(run, subject.pinned_recipe(), ids, reason, store=store, name=name)


def answer_again(run: Path, ask: Ask) -> None:
    """Let another model answer the questions of the proposed records; yours stay."""
    path = run / FOLDER / ADD_FILE
    if not path.exists():
        return
    records = list(read_records(str(path)))
    drafts = [one for one in records if one.meta.get("answer_by") != "you"]
    answers = dict(
        zip(
            [one.id for one in drafts],
            answered([one.messages[-2].content or "" for one in drafts], ask),
            strict=True,
        )
    )
    write_additions(
        run,
        [
            replace(
                one,
                messages=(*one.messages[:-1], replace(one.messages[-1], content=answers[one.id])),
                meta={**one.meta, "answer_by": "given"},
            )
            if answers.get(one.id)
            else one
            for one in records
        ],
    )
