"""A finished run, opened to be probed: its data, the tuned model, and the model before it."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.config import resolved_recipe
from danlu.config.data_sections import DataSource
from danlu.config.recipe import WITH_TEACHER, Recipe
from danlu.diagnosis.asking import Ask, Budget, Local, Progress
from danlu.diagnosis.commands import told
from danlu.diagnosis.examples import Example, Examples, Part
from danlu.diagnosis.kept import FILE, Kept, folder_stamp
from danlu.diagnosis.measure import Measure, measures
from danlu.diagnosis.probe import Examined
from danlu.errors import DanluError, ModelError, RecipeError, RunError
from danlu.models.source import ModelSource, adapter_base, builtin_named, resolve, run_model
from danlu.records import Record, read_records
from danlu.runs import Resolved, RunDirectory
from danlu.runs.findings import FOLDER, Finding
from danlu.workshop.data import VERSION_PREFIX, recipe_sources
from danlu.workshop.taxonomy import Taxonomy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.generation.local import TransformersGenerator
    from danlu.sequences.prepared import PreparedData
    from danlu.sequences.template import ChatTemplate

ANSWERS = ("nll", *WITH_TEACHER)
"""Objectives under which a run learns answers word for word."""


def _silent(*_: Any) -> None:
    """Say nothing."""


@dataclass(eq=False)
class Subject:
    """A run with what probes need of it, each part made when it is first asked for.

    Attributes:
        run: The run directory.
        device: Where models work.
        progress: Told how far the work is.
        budget: How much the models may work, all probes together.
    """

    run: RunDirectory
    device: str = "auto"
    progress: Progress = _silent
    budget: Budget = field(default_factory=Budget)
    _models: list[Local] = field(default_factory=list, init=False)

    @classmethod
    def open(cls, run: RunDirectory | Path | str, **options: Any) -> Subject:
        """Open a run.

        Raises:
            RunError: If there is none, or it has not begun to train.
        """
        opened = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
        subject = cls(opened, **options)
        assert subject.resolved  # read now, so that it is told at once
        return subject

    # The recipe and the data -------------------------------------------------------------

    @cached_property
    def resolved(self) -> Resolved:
        """The run's settings.

        Raises:
            RunError: If it has none yet.
        """
        found = self.run.resolved()
        if found is None:
            raise RunError(
                "this run has no resolved.json: it stopped before its first step, so there is "
                "nothing to ask. Train it first.",
                where=str(self.run.path),
            )
        return found

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, with every setting.

        Raises:
            RunError: If it was written by a version that had other settings.
        """
        try:
            return resolved_recipe(self.resolved.recipe)
        except RecipeError as error:
            raise RunError(
                f"the run's settings cannot be read by this version of Danlu: {error}",
                where=str(self.run.path / "resolved.json"),
            ) from error

    @property
    def learns_answers(self) -> bool:
        """Whether it learned answers word for word: not preferences, classes or rewards."""
        return self.resolved.objective in ANSWERS

    @cached_property
    def notes(self) -> list[str]:
        """What could not be had as the run had it; grows as more is asked for."""
        return []

    @cached_property
    def examples(self) -> Examples:
        """What it learned from and was checked on.

        Raises:
            DanluError: If its prepared data are gone and cannot be made again.
        """
        template = self.template
        found = Examples(
            self._prepared(),
            self.tokenizer,
            template.stop_ids if template else (),
            self.recipe.sequences,
            self._records,
        )
        found.notes = self.notes
        return found

    def trained_records(self) -> Iterator[Record]:
        """Read the training records again: those that were learned, not those held out.

        Raises:
            DanluError: If their sources are gone.
        """
        trained = {str(one) for one in self._prepared()["train"].record_ids}
        return (record for record in self._records("train") if record.id in trained)

    def measures(self, examples: Sequence[Example]) -> dict[str, Measure]:
        """Say of each task type among the examples how an answer is held against its reference."""
        return measures(examples, self.taxonomy)

    @cached_property
    def taxonomy(self) -> Taxonomy | None:
        """The task types of the datasets that it learned, where they say them."""
        trees = [one.get("taxonomy") for one in self.resolved.datasets]
        skills: dict[str, Any] = {}
        for tree in trees:
            if tree:
                skills |= Taxonomy.from_tree(tree, "resolved.json").skills
        return Taxonomy(skills) if skills else None

    def remarks(self) -> list[str]:
        """Return what a reader of the findings has to know of how they came about."""
        left = self.budget.left_out
        more = [f"{left} questions were left out: the time allowed was over."] if left else []
        return [*self.notes, *more]

    def told(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Write this run and its data into the commands of findings."""
        train = self.recipe.data.train
        return told(findings, str(self.run.path), train[0].path if train else None)

    # The models --------------------------------------------------------------------------

    @cached_property
    def saved(self) -> ModelSource:
        """Where the tuned model lies.

        Raises:
            ModelError: If it has saved nothing yet, or that is gone; says what to do in its state.
        """
        try:
            return run_model(self.run.path)
        except ModelError as error:
            raise ModelError(_no_model(self.run), where=str(self.run.path)) from error

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tuned model's."""
        from danlu.models.load import load_tokenizer

        assert self.saved  # what is missing is told in words of the run's state
        trust = self.recipe.model.trust_remote_code
        return load_tokenizer(self.run.path, trust_remote_code=trust, progress=False)

    @cached_property
    def template(self) -> ChatTemplate | None:
        """The template it was trained with; None where it reads plain text only."""
        from danlu.sequences.template import ChatTemplate

        return ChatTemplate.load(self.tokenizer) if self.tokenizer.chat_template else None

    @cached_property
    def kept(self) -> Kept:
        """What the models have said before."""
        return Kept(self.run.path / FOLDER / FILE)

    @cached_property
    def tuned(self) -> Local:
        """What the run has made.

        Raises:
            ModelError: If it has saved nothing yet.
        """
        return self.model("tuned", self._load_tuned, self._stamped(self.saved))

    @cached_property
    def base(self) -> Local:
        """The model that the run began with, asked in the run's own format.

        Raises:
            ModelError: If it is not there any more.
        """
        model = self.recipe.model
        how = [model.template, sorted(model.template_options.items()), model.rope.given()]
        stamp = f"{self._stamped(model.path)} {Kept.key(how)}"
        return self.model("base", self._load_base, stamp)

    def release(self) -> None:
        """Give back the memory of all models; they are loaded again when they are asked."""
        for model in self._models:
            model.release()

    def model(self, name: str, load: Callable[[], TransformersGenerator], stamp: str) -> Local:
        """Return a model of this run that is loaded when it is asked; one is held at a time.

        Args:
            name: What it is called in reports.
            load: Loads it.
            stamp: Changes when what it answers does.
        """

        def alone() -> TransformersGenerator:
            for other in self._models:
                other.release()
            return load()

        made = Local(
            name,
            alone,
            stamp=stamp,
            kept=self.kept,
            budget=self.budget,
            progress=self.progress,
        )
        self._models.append(made)
        return made

    def _stamped(self, source: ModelSource | str) -> str:
        """Return the stamp of a model; the one that the run began with may be gone by now."""
        try:
            return _stamp(resolve(source) if isinstance(source, str) else source)
        except ModelError as error:
            raise ModelError(
                f"the model that the run began with cannot be found any more: {error} Put it back "
                "where it was.",
                where=str(self.run.path),
            ) from error

    def _load_tuned(self) -> TransformersGenerator:
        from danlu.generation.load import load_generator

        model = self.recipe.model
        return load_generator(
            self.run.path,
            device=self.device,
            precision=model.precision,
            trust_remote_code=model.trust_remote_code,
            progress=False,
        )

    def _load_base(self) -> TransformersGenerator:
        from danlu.generation.local import TransformersGenerator
        from danlu.models.load import load_model, load_tokenizer, pick_device, pick_dtype
        from danlu.sequences.template import ChatTemplate

        model = self.recipe.model
        trust = model.trust_remote_code
        tokenizer = load_tokenizer(model.tokenizer or model.path, trust_remote_code=trust)
        place = pick_device(self.device)
        loaded = load_model(
            model.path,
            dtype=pick_dtype(model.precision, place),
            device=place,
            trust_remote_code=trust,
            progress=False,
            rope=model.rope,
        )
        template = ChatTemplate.load(tokenizer, model.template, model.template_options)
        return TransformersGenerator(loaded, tokenizer, template)

    # Inner -------------------------------------------------------------------------------

    def _prepared(self) -> dict[Part, PreparedData]:
        """Map what the run has prepared; make it again where it is gone."""
        from danlu.sequences.prepared import PreparedData

        folder = self.run.path / "prepared"
        if (folder / "prepared.json").is_file():
            try:
                parts: dict[Part, PreparedData] = {"train": PreparedData.load(folder / "train")}
                if (folder / "eval").is_dir():
                    parts["eval"] = PreparedData.load(folder / "eval")
                return parts
            except RunError as error:
                self.notes.append(f"{error} They are made again in memory for this diagnosis.")
        return self._prepared_anew()

    def _prepared_anew(self) -> dict[Part, PreparedData]:
        from danlu.models.load import load_tokenizer
        from danlu.models.tokens import add_tokens
        from danlu.training.data import make_data
        from danlu.training.labelled import chat_template

        model = self.recipe.model
        tokenizer = load_tokenizer(
            model.tokenizer or model.path, trust_remote_code=model.trust_remote_code
        )
        add_tokens(tokenizer, model.new_tokens)
        recipe = self.pinned_recipe()
        try:
            made = make_data(recipe, tokenizer, chat_template(recipe, tokenizer))
        except DanluError as error:
            raise RunError(
                "the run's prepared data are gone (prepared/), and its training data cannot be "
                f"read again: {error}",
                where=str(self.run.path),
            ) from error
        counts = Examples(
            {"train": made.train}, tokenizer, (), self.recipe.sequences, self._records
        ).counts("train")
        if counts != self.resolved.records:
            self.notes.append(
                "The data have changed since the run: it learned "
                f"{sum(self.resolved.records.values())} records, and there are {len(made.train)} "
                "now. What is said of its training records is said of those of today."
            )
        parts: dict[Part, PreparedData] = {"train": made.train}
        return parts if made.eval is None else parts | {"eval": made.eval}

    def pinned_recipe(self) -> Recipe:
        """Return the recipe with its dataset versions named by their ids, as the run read them."""
        data = self.recipe.data
        pinned = {"train": self._pinned(data.train, 0), "eval": self._pinned(data.eval, 1)}
        return self.recipe.model_copy(update={"data": data.model_copy(update=pinned)})

    def _pinned(self, sources: Sequence[DataSource], which: int) -> list[DataSource]:
        """Name the dataset versions that the run has read, not those that are newest now."""
        data = self.recipe.data
        named = [s.path for s in (*data.train, *data.eval) if s.path.startswith(VERSION_PREFIX)]
        known = [str(one["id"]) for one in self.resolved.datasets]
        if len(named) != len(known):
            return list(sources)
        before = sum(s.path.startswith(VERSION_PREFIX) for s in data.train) if which else 0
        ids = iter(known[before:])
        return [
            source.model_copy(update={"path": f"{VERSION_PREFIX}{next(ids)}"})
            if source.path.startswith(VERSION_PREFIX)
            else source
            for source in sources
        ]

    def _records(self, part: Part) -> Iterator[Record]:
        """Read the records of a part again; those held out by share stand among the others."""
        data = self.recipe.data
        own_eval = part == "eval" and bool(data.eval)
        given = self._pinned(data.eval, 1) if own_eval else self._pinned(data.train, 0)
        sources = recipe_sources(given)[0]
        yield from read_records(sources, on_bad_record=data.on_bad_record)


def subject_of(examined: Examined) -> Subject:
    """Open the run under examination; ``examined.once(subject_of)`` shares it among probes."""
    return Subject.open(examined.run, device=examined.device, progress=examined.progress)


def held_out_records(
    paths: Sequence[str], task_types: Collection[str], limit: int | None = None
) -> list[Example]:
    """Read records that a run did not learn, as examples.

    Args:
        paths: Files, folders or globs of records that end with an answer.
        task_types: Of those that were trained; others are left out.
        limit: Of each task type, at most so many, the first ones.

    Raises:
        RunError: If none of the records is of these task types.
        RecordError: If they cannot be read.
    """
    found: list[Example] = []
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for record in read_records(list(paths)) if paths else ():
        seen[record.task_type] += 1
        answer = record.messages[-1] if record.messages else None
        if record.task_type not in task_types or answer is None or answer.role != "assistant":
            continue
        counts[record.task_type] += 1
        if limit is None or counts[record.task_type] <= limit:
            ask = Ask(record.messages[:-1])
            text = (answer.content or "").strip()
            own = Example(record.id, record.task_type, "eval", ask, text, (), record.tags)
            found.append(replace(own, meta=record.meta))
    if paths and not found:
        raise RunError(
            f"no record is of a task type that was trained and ends with an answer. Trained were "
            f"{', '.join(sorted(task_types))}; the records are of {', '.join(sorted(seen))}.",
            where=", ".join(paths),
        )
    return found


def _no_model(run: RunDirectory) -> str:
    """Say why a run has no model to ask, and what to do."""
    state = run.state()
    if state == "running":
        return "the run is still training and saves its model at its end: ask again then."
    if state == "finished":
        return (
            "the run is finished, but its model is gone: neither model/ nor adapter/ is there. Put "
            "it back, or train it again."
        )
    recipe = shlex.quote(str(run.recipe_path))
    return f"the run stopped before it saved a model: `danlu train {recipe} --resume` goes on."


def _stamp(source: ModelSource) -> str:
    """Return what changes when a model does."""
    if source.kind == "run":
        assert source.path is not None
        source = run_model(source.path)
    if source.kind == "builtin":
        package = builtin_named(source.name).package
        return f"{source.name} {importlib.metadata.version(package)}"
    if source.path is None:
        return source.name
    if source.path.is_file():
        return _file_stamp(source.path)
    stamp = folder_stamp(source.path)
    if source.kind == "adapter":
        return f"{stamp} {_stamp(resolve(adapter_base(source.path)))}"
    return stamp


def _file_stamp(path: Path) -> str:
    """Return what changes when a model in one file does."""
    stat = path.stat()
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"
