"""A run's checkpoints as models that can be asked, so that learning shows over epochs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from danlu.diagnosis.asking import Local
from danlu.diagnosis.kept import folder_stamp
from danlu.errors import ModelError

if TYPE_CHECKING:
    from danlu.diagnosis.subject import Subject
    from danlu.generation.local import TransformersGenerator

WEIGHTS = "state.safetensors"


class Checkpoint(NamedTuple):
    """One checkpoint of a run.

    Attributes:
        step: After which optimizer step.
        epoch: Passes over the data by then.
        model: To be asked.
    """

    step: int
    epoch: float
    model: Local


def checkpoints(subject: Subject) -> list[Checkpoint]:
    """Return the checkpoints that a run has kept, by step; the best one is not among them."""
    records = sum(subject.resolved.records.values()) or 1
    found = []
    for folder in sorted(subject.run.checkpoints_path.glob("step-????????")):
        if not (folder / WEIGHTS).is_file():
            continue
        step = int(json.loads((folder / "state.json").read_text("utf-8"))["step"])
        epoch = step * subject.recipe.training.batch_records / records
        model = subject.model(f"step {step}", _loader(subject, folder), folder_stamp(folder))
        found.append(Checkpoint(step, round(epoch, 2), model))
    return found


def _loader(subject: Subject, folder: Path) -> Callable[[], TransformersGenerator]:
    return lambda: _load(subject, folder)


def _load(subject: Subject, folder: Path) -> TransformersGenerator:
    """Load the saved model as it was trained, and put the checkpoint's weights into it.

    Raises:
        ModelError: If the checkpoint moves other weights than the saved model has.
    """
    from safetensors import safe_open

    from danlu.generation.local import TransformersGenerator
    from danlu.models.load import load_for_tuning, pick_device, pick_dtype
    from danlu.training.gathering import parameter_name, put_parameters

    model = subject.recipe.model
    place = pick_device(subject.device)
    adapter = subject.run.adapter_path.is_dir()
    tuning = subject.recipe.tuning
    if adapter:
        tuning = tuning.model_copy(update={"start": "continue"})
    loaded: Any = load_for_tuning(
        subject.run.path,
        tuning,
        dtype=pick_dtype(model.precision, place),
        device=place,
        trust_remote_code=model.trust_remote_code,
        progress=False,
    )
    own = dict(loaded.named_parameters())
    with safe_open(folder / WEIGHTS, "pt") as file:
        saved = [key for key in file.keys() if key.startswith(parameter_name(""))]  # noqa: SIM118
        names = [key.removeprefix(parameter_name("")) for key in saved]
        if missing := [name for name in names if name not in own]:
            raise ModelError(
                f"the checkpoint has weights that the saved model has not: {missing[0]}.",
                where=str(folder),
            )
        moved = {name: own[name].requires_grad_(False) for name in names}
        put_parameters(moved, file.get_tensor)
    template = subject.template
    assert template is not None
    return TransformersGenerator(loaded.eval(), subject.tokenizer, template)
