"""What a teacher says of the data, kept beside them so that it runs once and not at each step.

Its likeliest tokens lie in ``teacher_ids.npy`` int32 ``(P, K)`` and ``teacher_logprobs.npy``
float32 ``(P, K + 1)``, a row per trained token; ``teacher.json`` says of what data and of whom.

Shapes: P trained tokens of the data, K top tokens.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from danlu.config.recipe import Recipe
from danlu.errors import RunError, TrainingError
from danlu.models.chunked import chunks
from danlu.models.context import ContextGroup
from danlu.models.load import pick_dtype
from danlu.models.source import resolve, run_model
from danlu.objectives import Teacher
from danlu.objectives.distil import Distil, TopTokens
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack
from danlu.sequences.prepared import KeptTeacher, PreparedData
from danlu.training.data import TrainingData
from danlu.training.notes import Notes
from danlu.training.scoring import Teaches
from danlu.training.teacher import WHERE, RunningTeacher, describe_padding, shared_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECORDS_AT_A_TIME, PREDICTIONS_AT_A_TIME = 256, 2**16
"""Records that are merged into one forest while the teacher is asked, and most trained tokens of
theirs (of the last record, more): their rows are on the device together."""


def taught(
    recipe: Recipe,
    data: TrainingData,
    distil: Distil,
    tokenizer: PreTrainedTokenizerBase,
    pack_tokens: int,
    accelerator: Accelerator,
    directory: Path,
    notes: Notes,
) -> tuple[TrainingData, Teaches]:
    """Make a teacher of the model that the recipe names.

    Args:
        recipe: Its ``objective`` and ``model``.
        data: What it is asked about.
        distil: What of its distributions is compared.
        tokenizer: The student's.
        pack_tokens: Most tokens that are computed at a time.
        accelerator: Devices and processes; all of them must call this.
        directory: Where the data are prepared; what is kept lies in ``train`` and ``eval`` there.
        notes: Told what is done.

    Returns:
        The data, with what is kept for each branch, and who hands it out with a pack; or the data
        as they are, and a teacher that runs at each step.

    Raises:
        RecipeError: If student and teacher do not have one vocabulary.
        RunError: If what is kept comes from another teacher.
        TrainingError: If the teacher's numbers are none.
    """
    vocabulary = shared_vocabulary(recipe, tokenizer)
    name = str(recipe.objective.teacher)

    def load() -> RunningTeacher:
        teacher = RunningTeacher.load(recipe, vocabulary, pack_tokens, accelerator.device)
        size = sum(part.numel() for part in teacher.model.parameters())
        notes.say(f"teacher {name}: {size:,} parameters, frozen", *teacher.notes)
        notes.say(*describe_padding(recipe, teacher))
        return teacher

    if not recipe.objective.keeps_teacher:
        return data, load()
    top_k = min(distil.top_k or vocabulary, vocabulary)
    parts = {"train": data.train} | ({"eval": data.eval} if data.eval is not None else {})
    keys = {
        part: _key(one, recipe, top_k, distil.temperature, vocabulary, accelerator.device)
        for part, one in parts.items()
    }
    missing = [part for part in parts if not _is_kept(directory / part, keys[part])]
    if missing:
        teacher = load()
        trained = sum(int(_offsets(parts[part])[-1]) for part in missing)
        notes.say(
            f"its {top_k} likeliest tokens at {trained:,} trained tokens are computed once and "
            f"kept ({trained * (8 * top_k + 4) / 1e6:,.1f} MB)"
        )
        with notes.counting("asking the teacher") as count:
            for part in missing:
                told = partial(count, part) if count else None
                _keep(parts[part], teacher, distil, accelerator, directory / part, told)
                if accelerator.is_main_process:
                    (directory / part / "teacher.json").write_text(json.dumps(keys[part]), "utf-8")
        accelerator.wait_for_everyone()
        del teacher
        gc.collect()
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
    train, held_out = (
        None if one is None else replace(one, teacher=_kept(one, directory / part))
        for part, one in (("train", data.train), ("eval", data.eval))
    )
    assert train is not None
    return replace(data, train=train, eval=held_out), KeptTeaching(vocabulary, accelerator.device)


@dataclass(frozen=True, eq=False)
class KeptTeaching:
    """Hands out what branches carry of a teacher that has run before.

    Attributes:
        vocabulary: How many tokens are compared.
        device: Where they are.
    """

    vocabulary: int
    device: torch.device

    def of(
        self, pack: Pack, branches: Sequence[Branch], context: ContextGroup | None = None
    ) -> Teacher:
        """Gather a pack's rows, in the order of its predictions; see ``Teaches``."""
        rows = [branches[index].taught for index in pack.members]
        if any(one is None for one in rows):
            raise ValueError("a branch carries nothing of the teacher")
        ids = np.concatenate([one.ids for one in rows if one]) if rows else np.zeros((0, 1))
        logprobs = np.concatenate([one.logprobs for one in rows if one]) if rows else ids
        if not rows:
            logprobs = np.zeros((0, 2), np.float32)
        if context is not None:
            own = (context.local(pack.predictor, pack.tokens) >= 0).numpy()
            ids, logprobs = ids[own], logprobs[own]
        return Teacher(
            TopTokens(
                torch.from_numpy(ids.astype(np.int64)).to(self.device),
                torch.from_numpy(logprobs).to(self.device),
            ),
            self.vocabulary,
        )


def _offsets(data: PreparedData) -> NDArray[np.int64]:
    """Return where each branch's trained tokens begin among all, ``(B + 1,)``."""
    trained = np.zeros(len(data.weights) + 1, np.int64)
    np.cumsum(np.asarray(data.weights) != 0, out=trained[1:])
    begins, ends = data.offsets[:-1], data.offsets[1:]
    # The first token of a branch has no predictor; its weight is 0 by contract.
    counts = trained[ends] - trained[begins]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _key(
    data: PreparedData,
    recipe: Recipe,
    top_k: int,
    temperature: float,
    vocabulary: int,
    device: torch.device,
) -> dict[str, Any]:
    """Say what the kept numbers depend on."""
    source = resolve(str(recipe.objective.teacher))
    if source.kind == "run":
        assert source.path is not None
        source = run_model(source.path)
    sizes = []
    if source.path is not None:
        files = source.path.iterdir() if source.path.is_dir() else [source.path]
        sizes = sorted((file.name, file.stat().st_size) for file in files if file.is_file())
    dtype = str(pick_dtype(recipe.model.precision, device))
    parts = [data.fingerprint, source.name, sizes, top_k, temperature, vocabulary, dtype]
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    return {"teacher": source.name, "top_k": top_k, "fingerprint": digest}


def _is_kept(directory: Path, key: Mapping[str, Any]) -> bool:
    """Whether all is there.

    Raises:
        RunError: If it is there, and of another teacher.
    """
    file = directory / "teacher.json"
    if not file.is_file():
        return False
    kept = json.loads(file.read_text("utf-8"))
    if kept != key:
        raise RunError(
            f"what was kept of the teacher ({kept['teacher']}) was computed from other weights or "
            f"for other data than those of {key['teacher']}, so going on would not be the same "
            "run. Put them back, or begin anew with --overwrite.",
            where=str(directory),
        )
    return True


def _kept(data: PreparedData, directory: Path) -> KeptTeacher:
    ids, logprobs = (
        np.load(directory / f"teacher_{name}.npy", mmap_mode="r") for name in ("ids", "logprobs")
    )
    return KeptTeacher(ids, logprobs, _offsets(data))


def _keep(
    data: PreparedData,
    teacher: RunningTeacher,
    distil: Distil,
    accelerator: Accelerator,
    directory: Path,
    progress: Callable[[int], None] | None,
) -> None:
    """Ask the teacher about all records, and write what it says."""
    offsets = _offsets(data)
    top_k = min(distil.top_k or teacher.vocabulary, teacher.vocabulary)
    writes = accelerator.is_main_process
    if writes:
        ids, logprobs = (
            np.lib.format.open_memmap(
                directory / f"teacher_{name}.npy", "w+", dtype, (int(offsets[-1]), width)
            )
            for name, dtype, width in (
                ("ids", np.int32, top_k),
                ("logprobs", np.float32, top_k + 1),
            )
        )
    for start, stop in _blocks(data, offsets):
        first, last = data.record_offsets[start], data.record_offsets[stop]
        own = slice(int(offsets[first]), int(offsets[last]))
        branches = [data.branch(b) for b in range(int(first), int(last))]
        top = _ask(teacher, distil, branches, offsets[first : last + 1] - own.start, accelerator)
        if torch.isnan(top.logprobs_CK1).any():
            raise TrainingError(
                "the teacher gives a token a probability that is no number. Look at it with danlu "
                "chat, and compute in float32 (model.precision).",
                where=WHERE,
            )
        if writes:
            ids[own] = top.ids_CK.cpu().numpy()
            logprobs[own] = top.logprobs_CK1.cpu().numpy()
        if progress is not None:
            progress(stop)
    if writes:
        ids.flush()
        logprobs.flush()


def _blocks(data: PreparedData, offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield stretches of records, each of bounded size."""
    start = 0
    for stop in range(1, len(data) + 1):
        trained = offsets[data.record_offsets[stop]] - offsets[data.record_offsets[start]]
        full = stop - start >= RECORDS_AT_A_TIME or trained >= PREDICTIONS_AT_A_TIME
        if full or stop == len(data):
            yield start, stop
            start = stop


@torch.no_grad()
def _ask(
    teacher: RunningTeacher,
    distil: Distil,
    branches: Sequence[Branch],
    offsets: NDArray[np.int64],
    accelerator: Accelerator,
) -> TopTokens:
    """Return the teacher's top tokens for some branches, over all processes.

    Args:
        teacher: Computes its own packs.
        distil: Shortens its distributions.
        branches: All of them have a place in ``offsets``.
        offsets: ``(len(branches) + 1,)``: where the rows of each begin.
        accelerator: Devices and processes.
    """
    device = accelerator.device
    top_k = min(distil.top_k or teacher.vocabulary, teacher.vocabulary)
    ids = torch.zeros(int(offsets[-1]), top_k, dtype=torch.int64, device=device)
    logprobs = torch.zeros(int(offsets[-1]), top_k + 1, device=device)
    for pack in teacher.packing.dealt(branches, accelerator)[1]:
        if not len(pack.predictor):
            continue
        with accelerator.autocast():
            said = teacher.of(pack, branches)
            rows = [np.arange(offsets[m], offsets[m + 1]) for m in pack.members]
            places = torch.from_numpy(np.concatenate(rows)).to(device)
            for part in chunks(len(places), teacher.vocabulary, device):
                logits_CV = said.of(part)
                assert isinstance(logits_CV, Tensor)
                top = distil.top_tokens(logits_CV)
                ids[places[part]] = top.ids_CK
                logprobs[places[part]] = top.logprobs_CK1.float()
    if accelerator.num_processes > 1:
        ids = accelerator.reduce(ids, reduction="sum")
        logprobs = accelerator.reduce(logprobs, reduction="sum")
    return TopTokens(ids, logprobs)
