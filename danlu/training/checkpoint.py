"""Checkpoints: what moves, the optimizer's state, and where the loop stands.

A checkpoint is a folder that appears by one rename, so it is whole or not there. Tensors are
safetensors, the rest JSON: reading one runs no code. Nothing random needs saving, because order
and dropout are seeded by the step. Tensors are whole and by name, however they were shared out, so
a run can go on with another number of processes, or another strategy.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from danlu.errors import RunError
from danlu.training.gathering import (
    parameter_name,
    put_parameters,
    put_state,
    whole_parameters,
    whole_state,
)

BEST = "best"


@dataclass
class LoopState:
    """Where the loop stands; all of it is kept in a checkpoint.

    Attributes:
        step: Optimizer steps done.
        elapsed_s: Seconds of training, pauses left out.
        best_loss: Lowest evaluation loss so far; None before the first evaluation.
        best_step: The step that had it.
        evaluations_since_best: Evaluations without a better loss.
        stopped: Whether early stopping has ended the run.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    stopped: bool = False


class Checkpoints:
    """The checkpoint folder of a run.

    Args:
        folder: Where checkpoints are; made when the first is saved.
        fingerprint: Of data and settings; a checkpoint of another is refused.
        keep: How many of the latest are kept, besides the best.
        writes: Whether this process writes; the others take part in gathering what is shared out.
            All of them read.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int, *, writes: bool = True) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.keep = keep
        self.writes = writes

    def save(
        self,
        state: LoopState,
        parameters: Mapping[str, nn.Parameter],
        optimizer: Any,
    ) -> Path:
        """Save the loop after a step, then remove what is older than the latest ``keep``.

        Where weights or the optimizer's state are shared out, all processes must call it.
        """
        target = self.folder / f"step-{state.step:08d}"
        tensors = whole_parameters(parameters, keep=self.writes)
        tensors |= whole_state(parameters, optimizer, keep=self.writes)
        if self.writes:
            self._write(target, state, tensors)
            for old in self.steps()[: -self.keep]:
                shutil.rmtree(old)
        return target

    def save_best(self, state: LoopState, parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep the weights of the lowest evaluation loss, under a name of their own."""
        tensors = whole_parameters(parameters, keep=self.writes)
        if self.writes:
            self._write(self.folder / BEST, state, tensors)

    def steps(self) -> list[Path]:
        """Return the whole checkpoints by step, oldest first."""
        return sorted(self.folder.glob("step-????????"))

    def restore(self, parameters: Mapping[str, nn.Parameter], optimizer: Any) -> LoopState:
        """Go back to the latest checkpoint; a fresh state if there is none.

        Raises:
            RunError: If the checkpoint was made with other data, settings or parameters.
        """
        if self.writes:
            self._settle_best()
        if not (steps := self.steps()):
            return LoopState()
        with self._opened(steps[-1], parameters) as (state, file):
            put_parameters(parameters, file.get_tensor)
            put_state(parameters, optimizer, set(file.keys()), file.get_tensor)
        return state

    def restore_best(self, parameters: Mapping[str, nn.Parameter]) -> LoopState | None:
        """Put the best weights back; None if no evaluation was ever made."""
        if self.writes:
            self._settle_best()
        if not (self.folder / BEST).is_dir():
            return None
        with self._opened(self.folder / BEST, parameters) as (state, file):
            put_parameters(parameters, file.get_tensor)
        return state

    def _write(self, target: Path, state: LoopState, tensors: Mapping[str, Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f".{target.name}.partial"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        save_file(
            {k: v.contiguous().cpu() for k, v in tensors.items()}, fresh / "state.safetensors"
        )
        about = {"fingerprint": self.fingerprint, **asdict(state)}
        (fresh / "state.json").write_text(json.dumps(about, indent=2), "utf-8")
        for file in fresh.iterdir():
            _flush(file)
        if target.exists():
            # A folder cannot be replaced in one rename: the old one steps aside first, and
            # _settle_best puts it back after a kill in between.
            aside = self.folder / f".{target.name}.previous"
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)
            fresh.rename(target)
            shutil.rmtree(aside)
        else:
            fresh.rename(target)
        _flush(self.folder)

    def _settle_best(self) -> None:
        aside = self.folder / f".{BEST}.previous"
        if aside.is_dir() and not (self.folder / BEST).exists():
            aside.rename(self.folder / BEST)

    @contextmanager
    def _opened(
        self, path: Path, parameters: Mapping[str, nn.Parameter]
    ) -> Iterator[tuple[LoopState, Any]]:
        """Open a checkpoint of these parameters; its tensors are read one by one."""
        about = json.loads((path / "state.json").read_text("utf-8"))
        if about.pop("fingerprint") != self.fingerprint:
            raise RunError(
                "this checkpoint was made with other data or settings, so going on would not be "
                "the same run. Put them back, or begin anew with --overwrite.",
                where=str(path),
            )
        with safe_open(path / "state.safetensors", "pt") as file:
            saved = {key for key in file.keys() if key.startswith("parameter.")}  # noqa: SIM118
            if other := sorted(saved ^ {parameter_name(name) for name in parameters}):
                name = other[0].removeprefix("parameter.")
                raise RunError(f"the checkpoint trains other parameters: {name}.", where=str(path))
            yield LoopState(**about), file


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
