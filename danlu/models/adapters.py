"""Adapters of every kind: told apart, saved, loaded, switched off.

A saved adapter is a folder with ``adapter_config.json`` and ``adapter_model.safetensors`` in PEFT's
format (bottleneck adapters, which PEFT does not have, in a like one). What only Danlu reads lies
beside them: trained rows of new tokens, an encoder's parameters, the format of a quantised base.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from danlu.errors import ModelError
from danlu.models.quiet import quiet
from danlu.models.rope import note_rope
from danlu.models.source import read_json
from danlu.models.token_rows import load_rows, rows_modules, save_rows
from danlu.models.tokens import grow_embeddings
from danlu.models.tuning_adapter import (
    ADAPTER_TYPE,
    bottlenecks,
    load_bottlenecks,
    save_bottlenecks,
)
from danlu.models.tuning_lora import peft_off, save_peft, widen_rows
from danlu.models.tuning_qlora import note_quantisation
from danlu.models.virtual_tokens import (
    PREFIX,
    PROMPT,
    PTUNING,
    load_virtual_tokens,
    save_virtual_tokens,
    virtual_tokens_of,
)


def unwrapped(model: Any) -> Any:
    """Return the transformers model, with whatever adapters are inside it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def has_adapter(model: Any) -> bool:
    """Whether a model carries an adapter of any kind that is not merged."""
    base = unwrapped(model)
    return model is not base or bool(bottlenecks(base)) or virtual_tokens_of(base) is not None


def save_adapter(model: Any, folder: Path) -> None:
    """Write a model's adapter, and nothing of its base, into an empty folder."""
    base = unwrapped(model)
    if bottlenecks(base):
        save_bottlenecks(base, folder)
    elif virtual_tokens_of(base) is not None:
        save_virtual_tokens(base, folder)
    else:
        save_peft(model, folder)
    save_rows(base, folder)
    note_rope(base.config, folder)
    if kind := getattr(base, "quantised_as", None):
        note_quantisation(kind, folder)


def load_adapter(base: Any, folder: Path, *, merge: bool) -> Any:
    """Put a saved adapter into its base.

    Args:
        base: A plain transformers model; changed in place. It grows by the adapter's new tokens.
        folder: The adapter's.
        merge: Merge it, where the mathematics allows it; else it stays apart, ready to be trained.

    Returns:
        The plain model; a PEFT model around it for what PEFT wraps and is not merged.
    """
    about = read_json(folder / "adapter_config.json")
    if about.get("adapter_type") == ADAPTER_TYPE:
        load_bottlenecks(base, folder)
        model = base
    elif about.get("peft_type") in (PREFIX, PROMPT, PTUNING):
        load_virtual_tokens(base, folder)
        model = base
    else:
        model = _load_peft(base, folder, merge)
    # After all else is frozen.
    load_rows(unwrapped(model), folder, trainable=not merge)
    return model


def merge_obstacle(folder: Path) -> str | None:
    """Say why a saved adapter cannot become part of its base's weights; None if it can."""
    about = read_json(folder / "adapter_config.json")
    if about.get("adapter_type") == ADAPTER_TYPE:
        return (
            "bottleneck adapters have a nonlinear function between their matrices, so no matrix "
            "of the base can take them in"
        )
    if about.get("peft_type") in (PREFIX, PROMPT, PTUNING):
        return (
            "virtual tokens are more tokens to attend to, not another matrix, so no weights of "
            "the base can take them in"
        )
    return None


@contextmanager
def without_adapter(model: Any) -> Iterator[None]:
    """Let a model compute, for the block, as it did before its adapter was trained.

    An adapter that goes on from an earlier run is off as a whole: what is left is its base.

    Raises:
        ValueError: If it has no adapter.
    """
    base = unwrapped(model)
    tokens = virtual_tokens_of(base)
    switches: list[Any] = [*rows_modules(base), *bottlenecks(base)]
    switches += [] if tokens is None else [tokens]
    if model is base and not switches:
        raise ValueError("the model has no adapter to switch off")
    with ExitStack() as stack:
        if model is not base:
            stack.enter_context(peft_off(model))
        for switch in switches:
            switch.enabled = False
        try:
            yield
        finally:
            for switch in switches:
                switch.enabled = True


def must_be_safetensors(folder: Path) -> None:
    """Check that an adapter's weights are no pickle, which can run code when it is opened.

    Raises:
        ModelError: If there are no safetensors weights.
    """
    if (folder / "adapter_model.safetensors").is_file():
        return
    pickles = sorted(file.name for file in folder.glob("*.bin"))
    if pickles:
        raise ModelError(
            f"the adapter's weights are pickles ({', '.join(pickles[:3])}), which can run code "
            "when opened, and are not read. Save the adapter as safetensors first.",
            where=str(folder),
        )
    raise ModelError("the adapter has no adapter_model.safetensors.", where=str(folder))


def _load_peft(base: Any, folder: Path, merge: bool) -> Any:
    from peft import PeftConfig, PeftModel

    must_be_safetensors(folder)
    with quiet():
        config = PeftConfig.from_pretrained(str(folder))
        grow_embeddings(base, _new_token_ids(config))
        model = PeftModel.from_pretrained(base, str(folder), config=config, is_trainable=not merge)
        if merge:
            return model.merge_and_unload()
        widen_rows(model)
        return model


def _new_token_ids(config: Any) -> tuple[int, ...]:
    """Return the ids of the rows that an adapter trained, in any of the forms that PEFT knows."""
    indices = getattr(config, "trainable_token_indices", None) or []
    lists = indices.values() if isinstance(indices, dict) else [indices]
    return tuple(sorted({index for one in lists for index in one}))
