"""What a process holds of a model whose weights are shared out, and how it gets at the rest.

A forward pass of the engine gathers weights where it needs them, so all processes must make it
alike. What they cannot do alike, such as sampling answers of different lengths, is done while each
of them holds all weights for a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from danlu.models.adapters import unwrapped
from danlu.models.layers import decoder_layers
from danlu.training.devices import shards_weights

T = TypeVar("T")


def with_whole_layers(
    model: nn.Module, accelerator: Accelerator, work: Callable[[Any], list[T]]
) -> list[T]:
    """Do other work with the model, such as answering, where its layers are whole when called.

    Args:
        model: As ``prepare`` returned it.
        accelerator: Devices and processes.
        work: Given the ``ScoringModel``, or the policy around one. Where weights are shared out
            every process does it, and it must go alike in all; else the first does.

    Returns:
        What it returned; in a process that did not do it, an empty list.
    """
    if shards_weights(accelerator):
        with torch.no_grad():
            done: list[T] = model(work)
        settle(model)
        return done
    return work(accelerator.unwrap_model(model)) if accelerator.is_main_process else []


def with_whole_weights(model: nn.Module, accelerator: Accelerator, work: Callable[[Any], T]) -> T:
    """Do work in every process that goes its own way in each; none waits for another in it.

    Where weights are shared out, each process holds all of them for so long: as much memory as the
    model takes in the number format of the computation, and what the work takes besides.

    Args:
        model: As ``prepare`` returned it.
        accelerator: Devices and processes, all of which must call this.
        work: Given the ``ScoringModel``, or the policy around one; without gradient.

    Returns:
        What it returned.
    """
    if not shards_weights(accelerator):
        return work(accelerator.unwrap_model(model))
    settle(model)
    gathered = _layers_gathered if isinstance(model, FSDPModule) else _parameters_gathered
    with gathered(model), torch.no_grad():
        done: T = model(work)  # in a forward pass: what is no layer is whole there, and cast
    settle(model)
    return done


def settle(model: nn.Module) -> None:
    """Drop gathered weights, so that what is written to the shares next takes effect."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    if (offload := _zero3(model)) is not None:
        offload.partition_all_parameters()


def own_share(parameter: nn.Parameter) -> Tensor:
    """Return what this process holds of a parameter: its share, or all of it."""
    if isinstance(parameter, DTensor):
        return parameter.to_local().detach()
    share: Tensor = getattr(parameter, "ds_tensor", parameter)
    return share.detach()


@contextmanager
def standing_in(
    model: nn.Module, parameters: Sequence[nn.Parameter], values: list[Tensor]
) -> Iterator[None]:
    """Let parameters have other values for the block, and their own again after it.

    Args:
        model: As ``prepare`` returned it.
        parameters: Of it; every process must name the same ones.
        values: For each what ``own_share`` returned at another time, in memory of its own. Within
            the block they hold what the parameters had.
    """
    _exchange(model, parameters, values)
    try:
        yield
    finally:
        _exchange(model, parameters, values)


@torch.no_grad()
def _exchange(model: nn.Module, parameters: Sequence[nn.Parameter], values: list[Tensor]) -> None:
    settle(model)
    for number, parameter in enumerate(parameters):
        if not isinstance(parameter, DTensor) and not hasattr(parameter, "ds_tensor"):
            parameter.data, values[number] = values[number], parameter.data
            continue
        # A share is a place in the engine's memory, which must stay where it is.
        share = own_share(parameter)
        now = share.clone()
        share.copy_(values[number])
        values[number].copy_(now)


@contextmanager
def _layers_gathered(model: nn.Module) -> Iterator[None]:
    """Let the decoder layers of FSDP2 stay whole when they have been called; the rest does so."""
    _, decoder = decoder_layers(unwrapped(model.model))
    layers = [layer for layer in decoder if isinstance(layer, FSDPModule)]
    for layer in layers:
        layer.unshard()
        layer.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_reshard_after_forward(True, recurse=False)


@contextmanager
def _parameters_gathered(model: nn.Module) -> Iterator[None]:
    """Let all weights of ZeRO-3 be whole, and nothing be fetched or let go by its hooks.

    What the hooks do depends on the order of the calls that they have seen, which must be the same
    in all processes.
    """
    import deepspeed

    offload = _zero3(model)
    handles = (*offload.forward_hooks, *offload.backward_hooks)
    before = [(hooks, dict(hooks)) for hooks in (handle.hooks_dict_ref() for handle in handles)]
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        for handle in handles:
            handle.remove()
        try:
            yield
        finally:
            for hooks, kept in before:  # in their order, with those of others between them
                hooks.clear()
                hooks.update(kept)


def _zero3(model: Any) -> Any:
    """Return what moves the weights of ZeRO-3; None with any other engine."""
    return getattr(getattr(model, "optimizer", None), "parameter_offload", None)
