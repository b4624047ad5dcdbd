"""Saving: a full model or an adapter, with all that is needed to talk to it.

A folder is replaced as a whole: it is written beside its place and renamed, so that a kill leaves
the old one or the new one (``source.settled`` mends a kill between the two renames).
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.models.source import settled

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate


def save_model(
    model: PreTrainedModel | Any,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    directory: Path,
) -> Path:
    """Save a tuned model: its adapter to ``adapter/``, or all its weights to ``model/``.

    The tokenizer is saved with it, the chat template in use as the tokenizer's own, and the stop
    tokens as ``eos_token_id`` of the generation config; so other programs stop where Danlu stops.
    Golden prompts say how it was asked in training.

    Args:
        model: What ``apply_tuning`` returned: with an adapter, or without.
        tokenizer: With any new special tokens already added.
        template: The template it was trained with; None for a model that reads plain text.
        directory: The run directory, or any folder.

    Returns:
        The folder written.
    """
    from danlu.models.adapters import has_adapter, save_adapter
    from danlu.models.quiet import quiet
    from danlu.sequences.golden import write_golden

    is_adapter = has_adapter(model)
    target = directory / ("adapter" if is_adapter else "model")
    with replaced_folder(target) as folder, quiet():
        if is_adapter:
            save_adapter(model, folder)
        else:
            save_weights(model, folder)
        # A copy, because a caller's tokenizer keeps its own template.
        own = copy.copy(tokenizer)
        if template is not None:
            _generation_config(model, template.stop_ids).save_pretrained(folder)
            own.chat_template = template.source
        own.save_pretrained(folder)
        if template is not None:
            write_golden(folder, own, template)
    return target


_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def save_weights(model: PreTrainedModel, folder: Path, *, shard_size: str | None = None) -> None:
    """Save all weights; transformers saves the generation config too, if it finds it consistent.

    Args:
        model: The model.
        folder: Where to.
        shard_size: Largest file of weights, such as ``2GB``; None leaves it to transformers.
    """
    options: Any = {} if shard_size is None else {"max_shard_size": shard_size}
    if getattr(model, "generation_config", None) is None:  # an encoder generates nothing
        model.save_pretrained(folder, **options)
        return
    own = model.generation_config
    model.generation_config = _generation_config(model)
    try:
        model.save_pretrained(folder, **options)
    finally:
        model.generation_config = own


def cast_weights(model: Any, dtype: torch.dtype) -> None:
    """Change the number format of a model's weights, in place, and of nothing else.

    ``model.to(dtype)`` rounds the frequencies of rotary positions too, which no file holds: the
    model in memory would then be another one than the model that is loaded from what it saved.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _generation_config(model: Any, stop_ids: Sequence[int] = ()) -> Any:
    """Return a model's generation config with these stop tokens, as transformers agrees to save it.

    Some published models set a temperature and do not sample. transformers reads that, with a
    notice, and refuses to save it; what has no effect is left out here.
    """
    config = copy.deepcopy(model.generation_config)
    if not config.do_sample:
        for name in _SAMPLING:
            setattr(config, name, None)
    if stop_ids:
        config.eos_token_id = list(stop_ids)
    return config


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``target`` when the block ends without error.

    Nothing changes if the block raises or the process is killed in it. One writer at a time.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "model"
        >>> with replaced_folder(place) as folder:
        ...     _ = (folder / "config.json").write_text("{}")
        >>> [file.name for file in place.iterdir()]
        ['config.json']
    """
    fresh = target.with_name(f".{target.name}.partial")
    previous = target.with_name(f".{target.name}.previous")
    settled(target)
    shutil.rmtree(fresh, ignore_errors=True)  # left by a kill
    fresh.mkdir(parents=True)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _let_others_read(fresh)
    while True:
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
            target.rename(previous)
        try:
            fresh.rename(target)
            break
        except OSError:
            if not target.exists():
                raise
            # A reader mended what it took for a kill between the renames: once more.
    shutil.rmtree(previous, ignore_errors=True)


def _let_others_read(folder: Path) -> None:
    """Give each file the rights of a new one: safetensors writes for its owner alone."""
    rights = folder.stat().st_mode & 0o666  # the folder was made under the user's own mask
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(rights)
