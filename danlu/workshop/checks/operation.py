"""Checks as an operation: records that have findings of chosen rules are dropped or tagged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from danlu.errors import DanluError
from danlu.records import Record, to_row
from danlu.workshop.checks.check import ROBUSTNESS, Check, Finding, check_settings
from danlu.workshop.checks.configure import find_rules
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.own_checks import OwnChecks
from danlu.workshop.checks.run import run_checks
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.store.decision import Decision, Entry, Progress, drop, keep

TAG = "check:"
"""Before the rule's name in a tag: ``check:lengths.no_ending``."""


@dataclass(frozen=True)
class CheckRecords:
    """Drops or tags records by what checks find in them.

    Attributes:
        checks: All that there are; those of which no rule is named are not run.
        drop: Rules by which a record is dropped; a check's name stands for all of its rules.
        tag: Rules by which a record gets the tag ``check:RULE``.
        context: What checks are told besides.
        executor: Looks at the records.

    Raises:
        DanluError: If a rule is not known, is none of records, or could find nothing for want of a
            model, an evaluation or a file; when run, as ``run_checks``.
    """

    name: ClassVar[str] = "check"
    revision: ClassVar[int] = 1

    checks: tuple[Check, ...]
    drop: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    context: Context = field(default_factory=Context)
    executor: Executor = HERE

    def __post_init__(self) -> None:
        find_rules(self.checks, (*self.drop, *self.tag))
        for check in self.running():
            if lacking := _lacking(check, self.context):
                raise DanluError(
                    f"{check.name} was not given {lacking}: nothing would be found by it."
                )

    def running(self) -> list[Check]:
        """Return the checks of which a rule is named."""
        names = {name.partition(".")[0] for name in (*self.drop, *self.tag)}
        return [check for check in self.checks if check.name in names]

    def settings(self) -> dict[str, Any]:
        """Return what shapes the result: rules, settings, labels, model, evaluation."""
        return {
            "drop": sorted(find_rules(self.checks, self.drop)),
            "tag": sorted(find_rules(self.checks, self.tag)),
            "checks": {check.name: _settings(check) for check in self.running()},
            "context": context_settings(self.context),
        }

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Run the checks over all records, then say what becomes of each.

        Goes through the records twice; an iterator, that cannot be, is held.
        """
        held = list(records) if isinstance(records, Iterator) else records
        found = self._found(held, progress)
        dropping = list(find_rules(self.checks, self.drop))
        tagging = list(find_rules(self.checks, self.tag))
        for record in held:
            own = found.get(record.id)
            yield keep(record) if own is None else _decision(record, own, dropping, tagging)

    def _found(
        self, records: Iterable[Record], progress: Progress
    ) -> dict[str, dict[str, Finding]]:
        """Return the findings of chosen rules, by record and rule."""
        wanted = find_rules(self.checks, (*self.drop, *self.tag))
        found: dict[str, dict[str, Finding]] = {}

        def take(finding: Finding) -> None:
            if finding.full_rule in wanted:
                found.setdefault(finding.record_id, {})[finding.full_rule] = finding

        run_checks(
            records,
            self.running(),
            self.context,
            on_finding=take,
            progress=progress,
            executor=self.executor,
        )
        return found


def _decision(
    record: Record, found: dict[str, Finding], dropping: list[str], tagging: list[str]
) -> Decision:
    """Say what becomes of a record that has findings of chosen rules."""
    valid = {rule: one for rule, one in found.items() if not one.protected}
    for rule in dropping:
        if rule in valid:
            one = valid[rule]
            return drop(record, rule, one.value, one.limit, one.partner, one.detail)
    rules = [rule for rule in tagging if rule in valid and f"{TAG}{rule}" not in record.tags]
    if rules:
        one, new = valid[rules[0]], [f"{TAG}{rule}" for rule in rules]
        tagged = replace(record, tags=(*record.tags, *new))
        detail = f"tagged {', '.join(new)}" + (f"; {one.detail}" if one.detail else "")
        entry = Entry(
            record.id, record.task_type, "edited", rules[0], one.value, one.limit, one.partner,
            detail,
        )  # fmt: skip
        return Decision(tagged, entry)
    spared = next((one for one in found.values() if one.protected), None)
    if spared is None:
        return keep(record)
    kept = keep(record, spared.full_rule, spared.value, spared.limit)
    return kept._replace(entry=replace(kept.entry, detail=f"kept by tag {ROBUSTNESS}"))


def _lacking(check: Check, context: Context) -> str:
    """Say what a check needs and was not given; nothing if it can run."""
    if check.name == "truncation" and context.tokenizer is None:
        return "a model (--model)"
    if check.name == "leakage" and not context.evaluation:
        return "the evaluation's records (--evaluation)"
    if isinstance(check, OwnChecks) and not check.file:
        return "a file of functions (own.file=…)"
    return ""


def _settings(check: Check) -> dict[str, Any]:
    """Return a check's settings; of a file its content counts too."""
    settings = {one.name: one.default for one in check_settings(check)}
    file = settings.get("file")
    if file and Path(file).is_file():
        settings["file_content"] = _digest(Path(file).read_bytes())
    return settings


def context_settings(context: Context) -> dict[str, Any]:
    """Return what of a context shapes findings, as JSON has it."""
    model = None
    if context.tokenizer is not None:
        vocabulary = json.dumps(context.tokenizer.get_vocab(), sort_keys=True)
        template = "" if context.template is None else context.template.source
        model = _digest(f"{vocabulary}\n{template}".encode())
    evaluation = hashlib.blake2b(digest_size=8)
    for record in context.evaluation:
        evaluation.update(json.dumps(to_row(record), sort_keys=True, default=str).encode())
    return {
        "closed_labels": {name: list(labels) for name, labels in context.closed_labels.items()},
        "schemas": {name: dict(schema) for name, schema in context.schemas.items()},
        "model": model,
        "sequences": context.sequences.model_dump(mode="json"),
        "evaluation": evaluation.hexdigest() if context.evaluation else None,
        "seed": context.seed,
    }


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
