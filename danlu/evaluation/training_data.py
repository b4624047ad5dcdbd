"""What two runs were trained on: records, shares, lengths, losses and settings, per task type.

Records are read from the dataset versions that ``resolved.json`` names, else from the recipe's
files; how much of each task type was trained, and with what loss, from ``metrics.jsonl``. A run
that went on from another has that one's data too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from danlu.config.data_sections import DataSource
from danlu.errors import DanluError
from danlu.evaluation.causes import TypeChange, TypeData
from danlu.records import Record, read_records
from danlu.runs import History, Resolved, RunDirectory, figures
from danlu.workshop.data import VERSION_PREFIX, recipe_sources
from danlu.workshop.operations.diff import Weighting, loss_of, text_and_weight

NO_SETTING = ("name", "runs_dir", "data", "checkpoints", "logging", "samples", "devices")
"""Of a recipe: what says where things are, or how work is laid out, and not how is learned."""
LAYOUT = ("training.device", "training.pack_tokens", "training.gradient_checkpointing")
_PLACES = ("path", "format", "columns")
"""Of a data source: what says where its records are; the records themselves are compared."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run made of one task type.

    Attributes:
        tokens: Trained, over all epochs.
        records: Seen, over all epochs.
        last_loss: Training loss at the end; None if it was not logged.
    """

    tokens: int
    records: int
    last_loss: float | None


@dataclass(frozen=True, slots=True)
class TypeMoved:
    """One task type's training data in two runs.

    Attributes:
        change: As ``causes`` takes it.
        before: What the first run made of it; None if it had none.
        after: What the second did.
        shares: Of the tokens trained, in the first and in the second.
    """

    change: TypeChange
    before: Trained | None
    after: Trained | None
    shares: tuple[float, float]


@dataclass(frozen=True, slots=True)
class TrainingChange:
    """What changed between two runs.

    Attributes:
        runs: Names of the runs of either side, the first trained first; empty if untrained.
        task_types: By name, of either run.
        settings: Those that differ: their path, and the value in each.
        notes: What could not be known, and why.
    """

    runs: tuple[tuple[str, ...], tuple[str, ...]]
    task_types: dict[str, TypeMoved]
    settings: dict[str, tuple[Any, Any]]
    notes: tuple[str, ...]

    def flat_settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings that differ, as ``causes.explain`` takes them."""
        before, after = ({k: v[side] for k, v in self.settings.items()} for side in (0, 1))
        return before, after


def training_change(before: RunDirectory | None, after: RunDirectory | None) -> TrainingChange:
    """Compare what two runs were trained on.

    Args:
        before: The first run; None for a model that was not trained here: all is then added.
        after: The second; likewise.

    Raises:
        RunError: If a run's files are broken.
    """
    notes: list[str] = []
    chains = [_chain(run) for run in (before, after)]
    shared = _shared(*chains)
    sides = [_Side.of(chain, notes) for chain in chains]
    names = sorted(sides[0].names | sides[1].names)
    totals = [sum(one.tokens for one in side.trained.values()) for side in sides]
    types = {}
    for name in names:
        made = [side.trained.get(name) for side in sides]
        shares = [
            (one.tokens if one else 0) / (total or 1)
            for one, total in zip(made, totals, strict=True)
        ]
        types[name] = TypeMoved(_change(name, sides), made[0], made[1], (shares[0], shares[1]))
    settings: dict[str, tuple[Any, Any]] = {}
    if all(chains):
        flat = [_settings(chain[-1].resolved()) for chain in chains]
        settings = {
            name: (flat[0].get(name), flat[1].get(name))
            for name in sorted(flat[0].keys() | flat[1].keys())
            if flat[0].get(name) != flat[1].get(name)
        }
        if shared and len(chains[0]) != len(chains[1]):
            settings.pop("model.path", None)  # one went on from the other: its data are compared
    first, second = (tuple(run.name for run in chain) for chain in chains)
    return TrainingChange((first, second), types, settings, tuple(dict.fromkeys(notes)))


def base_of(run: RunDirectory) -> str | None:
    """Return the model that a run, or the first of those it went on from, began with."""
    resolved = _chain(run)[0].resolved()
    base = resolved.recipe.get("model", {}).get("path") if resolved else None
    return base if isinstance(base, str) else None


# One side --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Row:
    """What is kept of a record."""

    task_type: str
    content: bytes
    prompt: bytes


@dataclass(slots=True)
class _Side:
    """All that a chain of runs was trained on."""

    rows: dict[str, _Row] = field(default_factory=dict)
    data: dict[str, TypeData] = field(default_factory=dict)
    trained: dict[str, Trained] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return set(self.data) | set(self.trained)

    @classmethod
    def of(cls, chain: Sequence[RunDirectory], notes: list[str]) -> _Side:
        side = cls()
        weightings: set[str] = set()
        sums: dict[str, _Sums] = defaultdict(_Sums)
        for run in chain:
            resolved = run.resolved()
            if resolved is None:
                notes.append(f"{run.name} has no resolved.json: what it was trained on is unknown.")
                continue
            weighting: Weighting = resolved.recipe.get("sequences", {}).get("weighting", "token")
            weightings.add(weighting)
            side._add_records(_records(run, resolved, notes), weighting, sums)
            side._add_trained(run, resolved)
        side._sum_up(sums, weightings)
        return side

    def _add_trained(self, run: RunDirectory, resolved: Resolved) -> None:
        found = figures(History.of(run.metrics()), resolved.objective)
        for one in found.task_types:
            known = self.trained.get(one.name)
            tokens, records = one.tokens, one.records
            if known:
                tokens, records = tokens + known.tokens, records + known.records
            self.trained[one.name] = Trained(tokens, records, one.train.last if one.train else None)

    def _add_records(
        self, records: Iterable[Record], weighting: Weighting, sums: dict[str, _Sums]
    ) -> None:
        """Count records, their lengths and their part of the loss."""
        repeats: Counter[str] = Counter()
        for record in records:
            texts = text_and_weight(record)
            sizes = [(len(text), weight) for text, weight in texts]
            one = sums[record.task_type]
            one.records += 1
            one.characters += sum(size for size, _ in sizes)
            one.answers.extend(size for size, weight in sizes if weight)
            one.loss += loss_of(sizes, weighting)
            content = _hash(texts)
            one.contents[content] += 1
            prompt = _hash([(text, None) for text, weight in texts if weight is None])
            repeats[record.id] += 1
            key = f"{record.id} {repeats[record.id]}"
            while key in self.rows:  # the same record in a run that this one went on from
                key += "'"
            self.rows[key] = _Row(record.task_type, content, prompt)

    def _sum_up(self, sums: dict[str, _Sums], weightings: set[str]) -> None:
        if weightings == {"task_type"}:
            for one in sums.values():
                one.loss = float(bool(one.loss))
        whole = sum(one.loss for one in sums.values())
        for name, one in sums.items():
            self.data[name] = self._type_data(name, one, whole, weightings)

    def _type_data(self, name: str, one: _Sums, whole: float, weightings: set[str]) -> TypeData:
        """Take what was trained where it was logged: mixing repeats some and leaves out others."""
        made, share = self.trained.get(name), one.loss / whole if whole else None
        if self.trained and weightings == {"token"}:
            total = sum(found.tokens for found in self.trained.values())
            share = (made.tokens if made else 0) / (total or 1)
        elif self.trained and weightings == {"record"}:
            total = sum(found.records for found in self.trained.values())
            share = (made.records if made else 0) / (total or 1)
        return TypeData(
            records=one.records,
            tokens=one.characters,
            loss_share=share,
            answer_length=sum(one.answers) / len(one.answers) if one.answers else None,
            duplicates=sum(count - 1 for count in one.contents.values()),
        )


@dataclass(slots=True)
class _Sums:
    records: int = 0
    characters: int = 0
    loss: float = 0.0
    answers: list[int] = field(default_factory=list)
    contents: Counter[bytes] = field(default_factory=Counter)


def _change(name: str, sides: Sequence[_Side]) -> TypeChange:
    """Count what was added, removed and edited.

    Edited is a record of the same id with another content, and, where ids are hashes of the
    content, one with the same prompt and another answer.
    """
    before, after = (
        {key: row for key, row in side.rows.items() if row.task_type == name} for side in sides
    )
    edited = sum(before[key].content != row.content for key, row in after.items() if key in before)
    gone = Counter(row.prompt for key, row in before.items() if key not in after)
    new = Counter(row.prompt for key, row in after.items() if key not in before)
    answered_anew = (gone & new).total()
    return TypeChange(
        sides[0].data.get(name),
        sides[1].data.get(name),
        added=new.total() - answered_anew,
        removed=gone.total() - answered_anew,
        changed=edited + answered_anew,
    )


def _hash(texts: Iterable[tuple[str, float | None]]) -> bytes:
    digest = hashlib.blake2b(digest_size=12)
    for text, weight in texts:
        digest.update(f"{len(text)} {weight}\n{text}".encode("utf-8", "surrogatepass"))
    return digest.digest()


# Where things are ------------------------------------------------------------------------


def _chain(run: RunDirectory | None) -> list[RunDirectory]:
    """Return a run and those it went on from, the first trained first."""
    chain: list[RunDirectory] = []
    while run is not None and all(run.path.resolve() != one.path.resolve() for one in chain):
        chain.insert(0, run)
        resolved = run.resolved()
        base = resolved.recipe.get("model", {}).get("path") if resolved else None
        earlier = RunDirectory(Path(base)) if isinstance(base, str) else None
        run = earlier if earlier is not None and earlier.is_run() else None
    return chain


def _shared(before: Sequence[RunDirectory], after: Sequence[RunDirectory]) -> bool:
    """Whether one of them went on from the other."""
    places = [[run.path.resolve() for run in chain] for chain in (before, after)]
    short, long = sorted(places, key=len)
    return bool(short) and long[: len(short)] == short


def _records(run: RunDirectory, resolved: Resolved, notes: list[str]) -> list[Record]:
    """Read the training records of a run again; none, and a note, where they are gone."""
    data = resolved.recipe.get("data", {})
    try:
        given = [DataSource.model_validate(one) for one in data.get("train", [])]
        sources = recipe_sources([_pinned(one, resolved) for one in given])[0]
        found = list(read_records(sources, on_bad_record=data.get("on_bad_record", "stop")))
    except (DanluError, ValidationError) as error:
        notes.append(
            f"The records that {run.name} was trained on cannot be read any more, so their changes "
            f"are unknown: {error}"
        )
        return []
    began = run.status().started_at.timestamp()
    for source in sources:
        place = Path(source.path)
        if place.is_file() and place.stat().st_mtime > began + 1:
            notes.append(
                f"{source.path} was written after {run.name} began, which may have seen other "
                "records. Datasets (`danlu data import`) never change."
            )
    return found


def _pinned(source: DataSource, resolved: Resolved) -> DataSource:
    """Name the version that the run has read, and not the one that its name points to now."""
    if not source.path.startswith(VERSION_PREFIX):
        return source
    name = source.path.removeprefix(VERSION_PREFIX)
    known = [str(one["id"]) for one in resolved.datasets]
    train = resolved.recipe.get("data", {}).get("train", [])
    named = [one["path"] for one in train if str(one.get("path", "")).startswith(VERSION_PREFIX)]
    place = named.index(f"{VERSION_PREFIX}{name}")  # manifests stand in the order of the sources
    if place < len(known):
        return source.model_copy(update={"path": f"{VERSION_PREFIX}{known[place]}"})
    return source


def _settings(resolved: Resolved | None) -> dict[str, Any]:
    """Return the settings of a run that change what is learned, flat."""
    if resolved is None:
        return {}
    recipe = {name: part for name, part in resolved.recipe.items() if name not in NO_SETTING}
    flat = _flat(recipe)
    data = resolved.recipe.get("data", {})
    flat |= _flat({"data": {name: data.get(name) for name in ("eval_share", "mix")}})
    limits = [
        {name: value for name, value in source.items() if name not in _PLACES}
        for source in data.get("train", [])
    ]
    for name in ("share", "limit"):
        values = [one.get(name) for one in limits]
        if any(value is not None for value in values):
            flat[f"data.train[].{name}"] = values
    return {name: value for name, value in flat.items() if name not in LAYOUT}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= _flat(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves
