"""From the recipe's sources to prepared sequences, once per run.

Prepared data lie in the run directory, so that a resumed run reads them at once and every process
maps the same files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import DataSource, Recipe
from danlu.errors import RecipeError, RunError, TrainingError
from danlu.objectives import build_objective
from danlu.records import Record, Source, fingerprint, read_records, write_records
from danlu.records.reading import Reading
from danlu.sequences.mix import mixed_records, wanted_shares
from danlu.sequences.prepare import prepare
from danlu.sequences.prepared import PreparedData
from danlu.sequences.prompts import prepare_prompts
from danlu.sequences.split import hold_out
from danlu.sequences.template import ChatTemplate
from danlu.training.labelled import LabelledData, kept_labels
from danlu.workshop.data import VERSION_PREFIX, recipe_sources

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[str, int], None]
"""Called with what is being read and how many records there are so far."""

LAYOUT_ONLY = frozenset({"pack_tokens", "device", "gradient_checkpointing"})
"""Training settings that change how work is laid out, and never its result."""


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is checked on.

    Attributes:
        train: Prepared training records.
        eval: Prepared evaluation records; None without any.
        samples: A few records to show answers of.
        rejected: How many rows of the sources were not records.
        thinned: How many training records were left out so that the mix has its shares.
        fingerprint: Hash of the sources and of every setting that shapes the run's result.
    """

    train: PreparedData
    eval: PreparedData | None
    samples: tuple[Record, ...]
    rejected: int
    thinned: int
    fingerprint: str


def must_name_data(recipe: Recipe) -> None:
    """Refuse a recipe without training data, before anything is made for it.

    Raises:
        RecipeError: If there is none.
    """
    if not recipe.data.train:
        raise RecipeError(
            "the recipe names no training data. Give a file, a folder or a glob, as in "
            "data.train=my.jsonl.",
            where="data.train",
        )


def run_fingerprint(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate | None
) -> str:
    """Hash everything that the result of a run depends on, before anything is prepared."""
    training = recipe.training.model_dump(exclude=set(LAYOUT_ONLY))
    parts: list[Any] = [
        fingerprint(_sources(recipe.data.train)),
        fingerprint(_sources(recipe.data.eval)) if recipe.data.eval else None,
        recipe.data.eval_share,
        [source.share for source in recipe.data.train],
        recipe.model.path,
        recipe.model.new_tokens,
        *([recipe.model.rope.given()] if recipe.model.rope.given() else []),
        recipe.sequences.model_dump(),
        recipe.tuning.model_dump(),
        recipe.objective.model_dump(),
        recipe.rollouts.model_dump(exclude={"keep_per_step", "kl_limit"}),
        recipe.evaluation.model_dump(),
        training,
        None if template is None else template.source,
        tokenizer.backend_tokenizer.to_str(),
    ]
    if recipe.data.mix.targets:
        parts.append(recipe.data.mix.model_dump())
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def make_data(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    *,
    directory: Path | None = None,
    rejected: Path | None = None,
    progress: Progress | None = None,
) -> TrainingData:
    """Read, render and tokenise the recipe's records.

    Args:
        recipe: Sources and settings.
        tokenizer: With any new special tokens already added.
        template: The chat template in use; None where plain text is classified.
        directory: Where prepared data are kept for a resumed run; None keeps them in memory.
        rejected: Where rows that are no records go, with ``on_bad_record: skip``.
        progress: Told how many records have been read.

    Raises:
        TrainingError: If nothing is left to train on.
        RecordError: If a source cannot be read.
    """
    if rejected:
        rejected.unlink(missing_ok=True)  # both readings append to it
    reader = _Reader(recipe, tokenizer, template, directory, rejected, progress)
    train, held_out, thinned = _parts(reader, recipe, directory)
    if not len(train):
        raise TrainingError(f"no record is left to train on: {_reasons(train)}", where="data.train")
    if reader.labelled is not None:
        train = replace(train, labels=reader.labelled.labels("train"))
        if held_out is not None:
            held_out = replace(held_out, labels=reader.labelled.labels("eval"))
    train = replace(train, source_ends=reader.source_ends)
    data = TrainingData(
        train,
        held_out if held_out is not None and len(held_out) else None,
        reader.kept.samples(),
        reader.rejected_count,
        thinned,
        run_fingerprint(recipe, tokenizer, template),
    )
    if directory:
        write_records(data.samples, directory / "samples.jsonl")
        about = {
            "fingerprint": data.fingerprint,
            "rejected": data.rejected,
            "thinned": data.thinned,
            "source_ends": train.source_ends,
        }
        (directory / "prepared.json").write_text(json.dumps(about), "utf-8")  # last: it says whole
    return data


def _parts(
    reader: _Reader, recipe: Recipe, directory: Path | None
) -> tuple[PreparedData, PreparedData | None, int]:
    """Prepare, mix and hold out.

    Returns:
        What is trained on, what is held out, and how many records the mix leaves out.
    """
    share, seed = recipe.data.eval_share, recipe.training.seed
    shares = wanted_shares([source.share for source in recipe.data.train])
    mixes = any(one is not None for one in shares)
    thinned = 0
    train, numbers = reader.prepare("all" if share or mixes else "train", recipe.data.train)
    reader.source_ends = numbers.ends(len(recipe.data.train))
    if mixes and len(train):
        chosen = mixed_records(train, numbers.of(train), shares, seed)
        thinned = len(train) - len(chosen)
        place = directory / ("mixed" if share else "train") if directory else None
        train = train.subset(chosen, with_drops=True, directory=place)
    held_out = reader.prepare("eval", recipe.data.eval)[0] if recipe.data.eval else None
    if share:
        train, held_out = hold_out(train, share, seed, directory=directory)
    if directory:
        for scratch in ("all", "mixed"):
            shutil.rmtree(directory / scratch, ignore_errors=True)
    return train, held_out, thinned


def load_data(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    directory: Path,
) -> TrainingData | None:
    """Load what ``make_data`` has kept; None if it was not finished.

    Raises:
        RunError: If data or settings have changed since: going on would be another run.
    """
    if not (directory / "prepared.json").is_file():
        return None
    about = json.loads((directory / "prepared.json").read_text("utf-8"))
    if about["fingerprint"] != run_fingerprint(recipe, tokenizer, template):
        raise RunError(
            "the data or the settings differ from those this run began with, so going on would "
            f"not be the same run. Put them back, or begin anew with --overwrite.{_moved(recipe)}",
            where=str(directory.parent),
        )
    train = PreparedData.load(directory / "train")
    train = replace(train, source_ends=tuple(about.get("source_ends", ())))
    has_eval = recipe.data.eval or recipe.data.eval_share
    held_out = PreparedData.load(directory / "eval") if has_eval else None
    if recipe.objective.name == "classify":
        train = replace(train, labels=kept_labels(directory, "train"))
        if held_out is not None:
            held_out = replace(held_out, labels=kept_labels(directory, "eval"))
    samples = tuple(read_records([Source(str(directory / "samples.jsonl"), format="danlu")]))
    return TrainingData(
        train,
        held_out if held_out is not None and len(held_out) else None,
        samples,
        about["rejected"],
        about["thinned"],
        about["fingerprint"],
    )


class _Reader:
    """Reads sources and prepares their records as the objective takes them.

    Attributes:
        kept: A few records to show answers of.
        labelled: The classes of the records, where classes are learned.
        rejected_count: Rows so far that were not records.
        source_ends: How many training records stand before the end of each source.
    """

    source_ends: tuple[int, ...] = ()

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate | None,
        directory: Path | None,
        rejected: Path | None,
        progress: Progress | None,
    ) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._template = template
        self._directory = directory
        self._rejected = rejected
        self._progress = progress
        self._reads = build_objective(recipe.objective).reads
        has_classes = self._reads == "classes"
        self.kept = _SampleTaker(0 if has_classes else recipe.samples.from_data)
        self.labelled = (
            LabelledData(recipe, tokenizer, template, directory) if has_classes else None
        )
        self.rejected_count = 0

    def prepare(
        self, name: str, sources: Sequence[DataSource]
    ) -> tuple[PreparedData, _SourceNumbers]:
        """Prepare the records of sources under a name; also say which source each came from."""
        reading = read_records(
            _sources(sources),
            on_bad_record=self._recipe.data.on_bad_record,
            rejected=self._rejected,
        )
        numbers = _SourceNumbers()
        made = self._prepared(name, self.kept.watch(name, numbers.watch(reading)))
        self.rejected_count += reading.rejected_count
        return made, numbers

    def _prepared(self, name: str, records: Iterable[Record]) -> PreparedData:
        recipe, progress = self._recipe, self._progress
        place = self._directory / name if self._directory else None
        counted = partial(progress, name) if progress else None
        if self.labelled is not None:
            part = "eval" if name == "eval" else "train"
            return self.labelled.prepare(part, records, place, counted)
        if self._reads == "prompts":
            assert self._template is not None
            return prepare_prompts(
                records,
                self._tokenizer,
                self._template,
                recipe.sequences,
                recipe.rollouts.max_new_tokens,
                directory=place,
                on_progress=counted,
            )
        return prepare(
            records,
            self._tokenizer,
            self._template,
            recipe.sequences,
            documents=recipe.sequences.documents,
            answers=self._reads if self._reads in ("compared", "judged") else None,
            directory=place,
            on_progress=counted,
        )


def _sources(sources: Sequence[DataSource]) -> list[Source]:
    return recipe_sources(sources)[0]


def _moved(recipe: Recipe) -> str:
    """Return a hint where a dataset's name may have moved on since the run began."""
    paths = [source.path for source in (*recipe.data.train, *recipe.data.eval)]
    named = [path for path in paths if path.startswith(VERSION_PREFIX) and "@" not in path]
    if not named:
        return ""
    return (
        f" If {named[0]} has moved on, name the version that the run's resolved.json has, as in "
        f"{named[0]}@1."
    )


def recipe_datasets(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the manifests of the dataset versions that a recipe names."""
    _, versions = recipe_sources([*recipe.data.train, *recipe.data.eval])
    return [version.manifest.model_dump(mode="json") for version in versions]


def _reasons(data: PreparedData) -> str:
    counts: dict[str, int] = {}
    for drop in data.drops:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "the data is empty"


def _has_answer(record: Record) -> bool:
    return bool(record.responses) or record.messages[-1].role == "assistant"


class _SourceNumbers:
    """Remembers which source each record came from, in the order of reading."""

    def __init__(self) -> None:
        self._numbers = array("i")

    def watch(self, reading: Reading) -> Iterator[Record]:
        """Pass records through."""
        for record in reading:
            self._numbers.append(reading.source_number)
            yield record

    def ends(self, sources: int) -> tuple[int, ...]:
        """Return how many records stand before the end of each source."""
        counts = np.bincount(np.asarray(self._numbers, np.int64), minlength=sources)
        return tuple(np.cumsum(counts).tolist())

    def of(self, prepared: PreparedData) -> NDArray[np.int64]:
        """Return the source of each prepared record, ``(R,)``."""
        return np.asarray(self._numbers, np.int64)[prepared.record_position]


class _SampleTaker:
    """Keeps one record per task type in passing, whatever their order: the one hashed lowest."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lowest: dict[tuple[str, str], tuple[str, Record]] = {}

    def watch(self, name: str, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records through."""
        if not self.count:
            yield from records
            return
        for record in records:
            key = (name, record.task_type)
            mark = hashlib.blake2b(record.id.encode(), digest_size=8).hexdigest()
            if (
                record.messages
                and _has_answer(record)
                and (key not in self.lowest or mark < self.lowest[key][0])
            ):
                self.lowest[key] = (mark, record)
            yield record

    def samples(self) -> tuple[Record, ...]:
        """Return at most ``count`` records of different task types, evaluation data first."""
        order = sorted(self.lowest, key=lambda key: (key[0] != "eval", self.lowest[key][0]))
        seen: set[str] = set()
        chosen: list[Record] = []
        for key in order:
            if key[1] not in seen and len(chosen) < self.count:
                seen.add(key[1])
                chosen.append(self.lowest[key][1])
        return tuple(chosen)
