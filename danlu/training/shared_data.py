"""Prepared data that several runs of the same records share: read and tokenised once.

A sweep trains one recipe with other settings, and most of them leave the data as they are. What the
first run has prepared is kept under a key of everything that shapes it; later runs take it, as hard
links where the file system has them: prepared files are never written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.config.recipe import Recipe
from danlu.records import fingerprint
from danlu.runs import RunDirectory
from danlu.workshop.data import recipe_sources

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate

ABOUT = "prepared.json"
REJECTED = "rejected.jsonl"


def data_key(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate | None
) -> str:
    """Hash everything that prepared data depend on, 32 hexadecimal digits."""
    data = recipe.data
    parts: list[Any] = [
        fingerprint(recipe_sources(data.train)[0]),
        fingerprint(recipe_sources(data.eval)[0]) if data.eval else None,
        data.eval_share,
        [source.share for source in data.train],
        data.on_bad_record,
        recipe.sequences.model_dump(),
        recipe.objective.model_dump(),
        recipe.rollouts.max_new_tokens,
        recipe.samples.from_data,
        recipe.training.seed,  # draws what is held out, and what a share leaves out
        None if template is None else template.source,
        tokenizer.backend_tokenizer.to_str(),
    ]
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def take_shared(place: Path, run: RunDirectory, run_fingerprint: str) -> bool:
    """Give a run what another one has prepared; False where there is nothing, or it has its own.

    Args:
        place: Where it is kept.
        run: The run.
        run_fingerprint: Of this run, which is told apart by more than its data.
    """
    directory = run.path / "prepared"
    if not (place / ABOUT).is_file() or (directory / ABOUT).is_file():
        return False
    shutil.rmtree(directory, ignore_errors=True)
    about = json.loads((place / ABOUT).read_text("utf-8"))
    shutil.copytree(
        place,
        directory,
        copy_function=_link,
        # Of this folder only: the parts within have a file of the same name.
        ignore=lambda folder, _: {ABOUT, REJECTED} if folder == str(place) else set(),
    )
    if (place / REJECTED).is_file():
        shutil.copyfile(place / REJECTED, run.rejected_path)
    text = json.dumps({**about, "fingerprint": run_fingerprint})
    (directory / ABOUT).write_text(text, "utf-8")  # last: it says whole
    return True


def share(place: Path, run: RunDirectory) -> None:
    """Keep what a run has just prepared for others."""
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(run.path / "prepared", part, copy_function=_link)
    if run.rejected_path.is_file():
        shutil.copyfile(run.rejected_path, part / REJECTED)
    if place.exists():
        shutil.rmtree(part)  # another process was faster
    else:
        part.replace(place)


def _link(source: str, target: str) -> None:
    """Link a file; copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
