"""Checkpoints: what moves, the optimizer's state, and where the loop stands.

A checkpoint is a folder that appears by one rename, so it is whole or not there. Tensors are
safetensors, the rest JSON: reading one runs no code. Nothing random needs saving, because order
and dropout are seeded by the step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from danlu.errors import RunError

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
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.keep = keep

    def save(
        self,
        state: LoopState,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> Path:
        """Save the loop after a step, then remove what is older than the latest ``keep``."""
        target = self.folder / f"step-{state.step:08d}"
        tensors = {f"parameter.{name}": p.detach() for name, p in parameters.items()}
        for name, parameter in parameters.items():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        self._write(target, state, tensors)
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(old)
        return target

    def save_best(self, state: LoopState, parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep the weights of the lowest evaluation loss, under a name of their own."""
        tensors = {f"parameter.{name}": p.detach() for name, p in parameters.items()}
        self._write(self.folder / BEST, state, tensors)

    def steps(self) -> list[Path]:
        """Return the whole checkpoints by step, oldest first."""
        return sorted(self.folder.glob("step-????????"))

    def restore(
        self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> LoopState:
        """Go back to the latest checkpoint; a fresh state if there is none.

        Raises:
            RunError: If the checkpoint was made with other data, settings or parameters.
        """
        if not (steps := self.steps()):
            return LoopState()
        state, tensors = self._read(steps[-1])
        _copy_parameters(parameters, tensors, steps[-1])
        for name, parameter in parameters.items():
            optimizer.state[parameter] = {
                key.split(".")[1]: value.to(
                    parameter.device
                    if key.split(".")[1] != "step" or _fused_on_device(optimizer)
                    else "cpu"
                )
                for key, value in tensors.items()
                if key.startswith("optimizer.") and key.split(".", 2)[2] == name
            }
        return state

    def restore_best(self, parameters: Mapping[str, nn.Parameter]) -> LoopState | None:
        """Put the best weights back; None if no evaluation was ever made."""
        self._settle_best()
        if not (self.folder / BEST).is_dir():
            return None
        state, tensors = self._read(self.folder / BEST)
        _copy_parameters(parameters, tensors, self.folder / BEST)
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

    def _read(self, path: Path) -> tuple[LoopState, dict[str, Tensor]]:
        about = json.loads((path / "state.json").read_text("utf-8"))
        if about.pop("fingerprint") != self.fingerprint:
            raise RunError(
                "this checkpoint was made with other data or settings, so going on would not be "
                "the same run. Put them back, or begin anew with --overwrite.",
                where=str(path),
            )
        return LoopState(**about), load_file(path / "state.safetensors")


def _copy_parameters(
    parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], path: Path
) -> None:
    saved = {key.removeprefix("parameter.") for key in tensors if key.startswith("parameter.")}
    if other := sorted(saved ^ set(parameters)):
        raise RunError(f"the checkpoint trains other parameters: {other[0]}.", where=str(path))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"parameter.{name}"])


def _fused_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Fused AdamW keeps its step counts on the device, the plain one on the host."""
    return bool(optimizer.defaults.get("fused"))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
