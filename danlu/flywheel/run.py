"""One run of a flywheel: pull, filter, answer, check, version, diff.

Safe to be run daily, or at any time: a second run at a time is refused; what was read is not read
again, and what was asked not asked again; a run that was killed goes on in the next. Everything
after the pull depends on the memory, the config and the answers alone; so a run that finds nothing
new ends with the versions that are there.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from danlu.errors import DanluError
from danlu.flywheel.better import USED, BetterAnswers, FindTurns, What, turn_record
from danlu.flywheel.chains import chains
from danlu.flywheel.choose import Chosen, choose
from danlu.flywheel.config import AnswerSection, FlywheelConfig
from danlu.flywheel.memory import Memory
from danlu.flywheel.pull import Pulled, pull
from danlu.flywheel.voters import by_state
from danlu.generation.interface import Sampling
from danlu.records import Record
from danlu.records.capture import now
from danlu.records.lines import encode_record
from danlu.runs.files import write_atomically
from danlu.workshop.checks import CHECKS, CheckRecords, Context
from danlu.workshop.operations.diff import diff
from danlu.workshop.operations.label import Label
from danlu.workshop.produce.budget import Budget, Prices
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.engine import Engine, Tell
from danlu.workshop.produce.model import Model
from danlu.workshop.produce.pace import Pacing
from danlu.workshop.produce.prompts import Prompts
from danlu.workshop.produce.task_types import AskedTypes
from danlu.workshop.store.decision import Progress
from danlu.workshop.store.store import Material, Store, no_progress
from danlu.workshop.store.version import Version
from danlu.workshop.taxonomy import Taxonomy

REQUESTS = "requests.sqlite"
REPORTS = "reports"
KINDS: tuple[What, ...] = ("sft", "pairs")
Bar = Callable[[str], AbstractContextManager[Tell | None]]
"""Opens a bar for requests, under the name of what is being done."""


class BusyError(DanluError):
    """Another run of the same flywheel is at work."""


class _Made(NamedTuple):
    """A version that a name points to now, and the one that it pointed to before."""

    name: str
    answered: Version
    version: Version
    before: Version | None


def folder_of(config: FlywheelConfig) -> Path:
    """Return where a flywheel remembers what it has read."""
    return Path(config.memory or Store(config.store).path / "flywheel" / config.name)


def run_flywheel(
    config: FlywheelConfig,
    *,
    progress: Progress = no_progress,
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Run a flywheel once.

    Args:
        config: What it reads, keeps and asks.
        progress: Told how far it is.
        bar: Shows requests and their cost.

    Returns:
        The report, as JSON has it; it is written to ``reports`` of the memory's folder too.

    Raises:
        BusyError: If another run is at work.
        EndpointError: If the model cannot be asked; the next run goes on.
        UnansweredError: If requests failed; the next run asks them again.
        BudgetError: If the budget is spent; the next run goes on with a new one.
        DanluError: If the config cannot be done, or a log not be read.
    """
    folder = folder_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), Memory(folder) as memory:
        started, begun = now(), time.monotonic()
        taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else None
        pulled = _pull(config, memory, progress)
        chosen = choose(chains(memory.turns()), config.keep, config.voters)
        store = Store(config.store)
        found = _find(config, store, chosen, taxonomy, progress)
        with _engine(config.answer, store, bar or (lambda stage: nullcontext())) as engine:
            found = _label(config, store, found, taxonomy, engine, progress)
            made = [_make(config, store, found, engine, what, progress) for what in KINDS]
            spent = {
                "tokens": engine.purse.tokens,
                "prompt_tokens": engine.purse.prompt_tokens,
                "completion_tokens": engine.purse.completion_tokens,
                "money": engine.purse.money,
                "repeats": engine.retries,
            }
        report = {
            "flywheel": config.name,
            "started": started,
            "seconds": round(time.monotonic() - begun, 1),
            "pulled": [one.as_dict() for one in pulled],
            "memory": {
                "turns": len(chosen.finds),
                "left_out": memory.left_out(),
                "masked": memory.masked(),
            },
            "found": {"version": found.id, "rules": chosen.counts()},
            "voters": _voters(chosen),
            "spent": spent,
            "datasets": [_dataset(one, progress) for one in made],
        }
        text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
        reports = folder / REPORTS
        reports.mkdir(exist_ok=True)
        write_atomically(reports / f"{started.replace(':', '')}.json", text)
    return report


def last_report(config: FlywheelConfig) -> dict[str, Any]:
    """Return the report of the last run that was finished.

    Raises:
        DanluError: If there is none.
    """
    found = sorted((folder_of(config) / REPORTS).glob("[!.]*.json"))
    if not found:
        raise DanluError(
            f"the flywheel {config.name} has finished no run yet. 'danlu flywheel run' does one.",
            where=str(folder_of(config)),
        )
    report: dict[str, Any] = json.loads(found[-1].read_text("utf-8"))
    return report


# The stages ------------------------------------------------------------------------------


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let nobody else run this flywheel while the block lasts; a killed process lets go."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "run.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            "another run of this flywheel is at work; this one has done nothing.",
            where=str(folder),
        ) from error
    try:
        yield
    finally:
        lock.release()


def _pull(config: FlywheelConfig, memory: Memory, progress: Progress) -> list[Pulled]:
    found: list[Pulled] = []
    rows = 0

    def told(count: int) -> None:
        nonlocal rows
        rows += count
        progress("reading logs: rows", rows, None)

    for source in config.sources:
        drop = config.personal == "drop"
        found.append(pull(memory, source, drop_personal=drop, told=told))
    return found


def _find(
    config: FlywheelConfig,
    store: Store,
    chosen: Chosen,
    taxonomy: Taxonomy | None,
    progress: Progress,
) -> Version:
    """Make the version of the turns that are worth it."""
    records = [turn_record(find, config.task_type) for find in chosen.finds]
    material = Material(
        records=lambda _: iter(records),
        count=len(records),
        identity=[_digest(records), taxonomy.settings() if taxonomy else None],
        taxonomy=taxonomy.settings() if taxonomy else None,
    )
    return store.make(FindTurns(config), material, progress=progress)


def _digest(records: list[Record]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for record in records:
        digest.update(encode_record(record))
    return digest.hexdigest()


def _label(
    config: FlywheelConfig,
    store: Store,
    found: Version,
    taxonomy: Taxonomy | None,
    engine: Engine,
    progress: Progress,
) -> Version:
    """Give the turns task types, where there is a taxonomy to choose from."""
    if taxonomy is None or not len(found):
        return found
    has_rules = any(one.keywords or one.patterns for one in taxonomy.skills.values())
    if config.label_by_model:
        operation = Label(taxonomy, ("rules", "model"), model=AskedTypes(engine, taxonomy))
    elif has_rules:
        operation = Label(taxonomy, ("rules",))
    else:
        return found
    return store.apply(operation, found, progress=progress)


def _make(
    config: FlywheelConfig,
    store: Store,
    found: Version,
    engine: Engine,
    what: What,
    progress: Progress,
) -> _Made:
    """Answer, check, and let the name point to what is left."""
    name = f"{config.name}-{what}"
    history = store.names.history(name)
    before = store.find(history[-1].version) if history else None
    answer = config.answer
    operation = BetterAnswers(
        engine, what, _sampling(answer), answer.verify, Prompts(answer.prompts)
    )
    answered = version = store.apply(operation, found, progress=progress)
    if config.check:
        labels = version.taxonomy.skills if version.taxonomy else {}
        context = Context(closed_labels={one: skill.closed_labels for one, skill in labels.items()})
        checks = CheckRecords(CHECKS, tuple(config.check), context=context)
        version = store.apply(checks, version, progress=progress)
    store.name(version, name)
    return _Made(name, answered, version, before)


def _sampling(answer: AnswerSection) -> Sampling:
    if answer.temperature == 0:
        return Sampling(answer.max_new_tokens, greedy=True, seed=answer.seed)
    return Sampling(
        answer.max_new_tokens, temperature=answer.temperature, top_p=answer.top_p, seed=answer.seed
    )


@contextmanager
def _engine(answer: AnswerSection, store: Store, bar: Bar) -> Iterator[Engine]:
    """Open the engine while the block lasts."""
    pacing = Pacing(
        answer.concurrency, answer.requests_per_minute, answer.tokens_per_minute, answer.attempts
    )
    model = _model(answer)
    with (
        RequestCache(store.path / REQUESTS) as cache,
        bar("asking") as tell,
        Engine(
            model,
            cache,
            pacing=pacing,
            budget=Budget(answer.budget_tokens, answer.budget_money),
            prices=Prices(answer.price_prompt, answer.price_completion),
            tell=tell,
        ) as engine,
    ):
        yield engine


def _model(answer: AnswerSection) -> Model:
    if answer.url is None:
        from danlu.workshop.produce.in_process import InProcess

        return InProcess.load(answer.model)
    from danlu.workshop.produce.endpoint import Endpoint

    return Endpoint(
        answer.url,
        answer.model,
        key_variable=answer.key_variable,
        timeout_s=answer.timeout_s,
        extra=answer.extra,
        leave_out=tuple(answer.leave_out),
        max_tokens_name=answer.max_tokens_name,
    )


# The report ------------------------------------------------------------------------------


def _voters(chosen: Chosen) -> dict[str, Any]:
    verdicts = list(chosen.voters.values())
    told = [one for one in verdicts if one.state in ("inverted", "constant", "unclear")]
    return {
        "counts": by_state(verdicts),
        "votes": {
            "counted": sum(find.ups + find.downs for find in chosen.finds),
            "ignored": sum(find.ignored for find in chosen.finds),
        },
        "told": [
            {name: getattr(one, name) for name in one.__slots__}
            for one in sorted(told, key=lambda one: (one.state != "inverted", one.p or 0.0))
        ],
    }


def _dataset(made: _Made, progress: Progress) -> dict[str, Any]:
    """Say what a name points to now, and how that differs from before."""
    manifest = made.version.manifest
    before = made.before.records() if made.before else iter(())
    found = diff(before, made.version.records(), progress=progress)
    return {
        "name": made.name,
        "version": made.version.id,
        "before": made.before.id if made.before else None,
        "is_new": made.before is None or made.before.id != made.version.id,
        "records": manifest.records,
        "added": sum(one.added for one in found.task_types.values()),
        "removed": sum(one.removed for one in found.task_types.values()),
        "changed": sum(one.changed for one in found.task_types.values()),
        "diff": found.as_dict(),
        "left_out": _left_out(made),
    }


def _left_out(made: _Made) -> dict[str, int]:
    """Count what gave no record, by reason: while answering, then by the checks."""
    counts: dict[str, int] = {}
    for version in dict.fromkeys((made.answered.id, made.version.id)):
        manifest = (made.answered if version == made.answered.id else made.version).manifest
        for row in manifest.rules:
            if row.fate == "dropped" and row.rule != USED:
                counts[row.rule] = counts.get(row.rule, 0) + row.count
    return counts
