"""``SmallModel``: a model that is trained by a recipe on given records, and then answers others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from danlu.errors import DanluError, RunError
from danlu.records import Record, write_records
from danlu.runs import RunDirectory
from danlu.workshop.produce.bulk_label import ByAsking, Labeller
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.engine import Engine, Tell
from danlu.workshop.produce.request import Reply, Unanswered

if TYPE_CHECKING:
    from danlu.config.recipe import Recipe
    from danlu.serving.classify import Classifier

CLASSIFY = "classify"
GENERATING = ("nll", CLASSIFY)


class SmallModel:
    """Learns by Danlu's own training; used as a context manager.

    The run is called as the recipe, with a fingerprint of settings and records: learned once, it is
    there the next time, and a training that was stopped goes on. With objective ``classify`` a
    classifier is made, otherwise a model that is asked.

    Args:
        recipe: How it learns; its training records are those given to ``learn``.
        cache: Where its answers are kept, so that labelling goes on after a stop.
        max_new_tokens: Longest answer.
        tell: Told of every answer.
        progress: Show training's bar and notes on stderr.

    Raises:
        DanluError: If the recipe's objective makes a model that answers nothing.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: RequestCache,
        *,
        max_new_tokens: int = 512,
        tell: Tell | None = None,
        progress: bool = True,
    ) -> None:
        if recipe.objective.name not in GENERATING:
            raise DanluError(
                f"the objective {recipe.objective.name} makes no model that answers; name a recipe "
                "for supervised tuning, such as sft-lora, or classify.",
                where=f"recipe {recipe.name}",
            )
        self.recipe = recipe
        self.run: RunDirectory | None = None
        self._cache = cache
        self._max_new_tokens = max_new_tokens
        self._tell = tell
        self._progress = progress
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def settings(self) -> dict[str, Any]:
        """Say what shapes what it learns: every setting, but for names and places."""
        tree = self.recipe.model_dump(mode="json", exclude={"name", "runs_dir"})
        tree["data"].pop("train")
        return {"recipe": tree, "max_new_tokens": self._max_new_tokens}

    def learn(self, records: Sequence[Record]) -> Labeller:
        """Train on records, or take up what was trained on them before.

        Raises:
            DanluError: Whatever the user can mend: recipe, records, model, run.
            KeyboardInterrupt: If the training was stopped; the next call goes on from there.
        """
        is_classifier = self.recipe.objective.name == CLASSIFY
        if not is_classifier and any(record.is_text for record in records):
            raise DanluError("texts with a label are learned by a classifier: --recipe classify.")
        self.run = self._trained(records)
        if is_classifier:
            from danlu.serving.classify import load_classifier

            classifier = load_classifier(self.run.path, progress=self._progress)
            return ByClassifying(classifier, str(self.run.path))
        from danlu.workshop.produce.in_process import InProcess

        model = InProcess.load(str(self.run.path), progress=self._progress)
        engine = self._open.enter_context(Engine(model, self._cache, tell=self._tell))
        return ByAsking(engine, self._max_new_tokens)

    def _trained(self, records: Sequence[Record]) -> RunDirectory:
        from danlu.training.run import train

        name = f"{self.recipe.name}-{self._fingerprint(records)}"
        folder = Path(self.recipe.runs_dir)
        run = RunDirectory(folder / name)
        if run.is_run() and run.state() == "finished":
            return RunDirectory.open(run.path)
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"{name}.records.jsonl"
        write_records(records, data)
        sources = [{"path": str(data), "format": "danlu"}]
        tree = self.recipe.model_dump(mode="json", exclude_unset=True)
        tree |= {"name": name, "data": {**tree.get("data", {}), "train": sources}}
        recipe = type(self.recipe).model_validate(tree)
        try:
            trained = train(recipe, resume=run.is_run(), progress=self._progress)
        except RunError:
            if not run.is_run():
                raise
            # Stopped before there was anything to go on from.
            trained = train(recipe, overwrite=True, progress=self._progress)
        if trained.summary is None:
            raise KeyboardInterrupt
        return RunDirectory.open(run.path)

    def _fingerprint(self, records: Sequence[Record]) -> str:
        digest = hashlib.blake2b(digest_size=6)
        digest.update(json.dumps(self.settings()["recipe"], sort_keys=True).encode())
        for record in records:
            said = [[one.role, one.content, dict(one.extra)] for one in record.messages]
            row = [record.id, record.task_type, said, record.meta.get("label")]
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ByClassifying:
    """A labeller that says the class of each record.

    Attributes:
        classifier: A trained one, of one class for each record.
        name: Of its run.
    """

    classifier: Classifier
    name: str

    def settings(self) -> dict[str, Any]:
        """Say what it is."""
        return {"model": self.name}

    def answer(self, records: Sequence[Record]) -> list[Reply | Unanswered]:
        """Say the class of each record, in their order."""
        return [
            Reply(", ".join(found.classes)) for found in self.classifier.classify_records(records)
        ]
