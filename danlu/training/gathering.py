"""Whole tensors of parameters and of the optimizer's state, whoever holds them, and back.

A checkpoint has every tensor whole and by name. So it does not depend on how many processes there
were or what each of them held, and a run can go on with other devices.

Parameters are of four kinds: ordinary ones (one process, DDP); DTensors (FSDP2); those of ZeRO-1
and 2, whose state is shared out; those of ZeRO-3, which are shared out themselves. DeepSpeed keeps
one flat tensor per group, and tells by its ``safe_get`` and ``safe_set`` functions where in it the
share of a parameter lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional

Read = Callable[[str], Tensor]
"""Returns a tensor of a checkpoint by its name there."""


def parameter_name(name: str) -> str:
    """Return what a parameter is called in a checkpoint.

    Example:
        >>> parameter_name("model.norm.weight")
        'parameter.model.norm.weight'
    """
    return f"parameter.{name}"


def state_name(key: str, name: str) -> str:
    """Return what a piece of a parameter's optimizer state is called in a checkpoint."""
    return f"optimizer.{key}.{name}"


def whole(tensor: Tensor) -> Tensor:
    """Return a parameter, or a piece of FSDP2's optimizer state, as a whole tensor, detached.

    All processes must call it. What is not shared out is returned as it is.
    """
    if isinstance(tensor, DTensor):
        # With offload the shares are on the host, and processes talk on the device.
        on_device = tensor.detach().to(tensor.device_mesh.device_type)
        gathered: Tensor = on_device.full_tensor()  # type: ignore[attr-defined]
        return gathered
    if _of_zero3(tensor):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()
    return tensor.detach()


@torch.no_grad()
def whole_parameters(
    parameters: Mapping[str, nn.Parameter], *, keep: bool = True
) -> dict[str, Tensor]:
    """Return parameters as whole tensors on the host, by their names in a checkpoint.

    Args:
        parameters: By name. All processes must call this with the same ones.
        keep: Return them; False takes part in gathering, and returns nothing.
    """
    found = {}
    for name, parameter in parameters.items():
        tensor = whole(parameter)
        if keep:
            found[parameter_name(name)] = tensor.contiguous().cpu()
    return found


@torch.no_grad()
def whole_state(
    parameters: Mapping[str, nn.Parameter], optimizer: Any, *, keep: bool = True
) -> dict[str, Tensor]:
    """Return the optimizer's state as whole tensors on the host, by their names in a checkpoint.

    Args:
        parameters: All that the optimizer moves, by name.
        optimizer: A torch optimizer, or what the engine made of it.
        keep: Return it; False takes part in gathering, and returns nothing.
    """
    found = {}
    for name, parameter in parameters.items():
        for key, value in _state_of(parameter, optimizer).items():
            if keep:
                found[state_name(key, name)] = value.contiguous().cpu()
    return found


@torch.no_grad()
def put_parameters(parameters: Mapping[str, nn.Parameter], read: Read) -> None:
    """Give parameters the values of a checkpoint; each process keeps its share.

    Args:
        parameters: By name. All processes must call this with the same ones.
        read: Returns the whole tensors.
    """
    for name, parameter in parameters.items():
        value = read(parameter_name(name))
        if isinstance(parameter, DTensor):
            parameter.to_local().copy_(_share(value, parameter))
            continue
        if _of_zero3(parameter):
            import deepspeed

            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.data.copy_(value)
        else:
            parameter.copy_(value)
        if _of_zero(parameter):
            _put_zero(parameter, value)  # the float32 that the update starts from


@torch.no_grad()
def put_state(
    parameters: Mapping[str, nn.Parameter], optimizer: Any, names: set[str], read: Read
) -> None:
    """Give an optimizer the state of a checkpoint; each process keeps its share.

    Args:
        parameters: All that the optimizer moves, by name.
        optimizer: A torch optimizer, or what the engine made of it.
        names: What the checkpoint holds.
        read: Returns the whole tensors.
    """
    kept = {name: {key: state_name(key, name) for key in _keys(names, name)} for name in parameters}
    if any(_of_zero(parameter) for parameter in parameters.values()):
        _put_zero_state(parameters, optimizer, kept, read)
        return
    fused = bool(optimizer.defaults.get("fused"))
    for name, parameter in parameters.items():
        state = {}
        for key, stored in kept[name].items():
            value = read(stored)
            if isinstance(parameter, DTensor) and key != "step":
                share: Tensor = DTensor.from_local(
                    _share(value, parameter),
                    parameter.device_mesh,
                    parameter.placements,
                    shape=parameter.shape,
                    stride=parameter.stride(),
                )
                state[key] = share
            else:
                # Fused AdamW keeps its step counts on the device, the plain one on the host.
                state[key] = value.to(parameter.device if key != "step" or fused else "cpu")
        optimizer.state[parameter] = state


@torch.no_grad()
def make_whole(module: nn.Module, *, keep: bool, moving_only: bool = False) -> None:
    """Put whole parameters, on the host, in the place of those that are shared out.

    The module can then be saved, and not be called any more.

    Args:
        module: Any part of a model. All processes must call this.
        keep: Whether this process wants them; others take part in gathering only.
        moving_only: Leave frozen parameters as they are.
    """
    done: dict[int, nn.Parameter] = {}
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            shared_out = isinstance(parameter, DTensor) or _of_zero3(parameter)
            if not shared_out or (moving_only and not parameter.requires_grad):
                continue
            if id(parameter) not in done:  # tied ones once
                tensor = whole(parameter)
                done[id(parameter)] = (
                    nn.Parameter(tensor.cpu(), parameter.requires_grad) if keep else parameter
                )
            if keep:
                owner.register_parameter(name, done[id(parameter)])


def _of_zero3(tensor: Tensor) -> bool:
    return hasattr(tensor, "ds_id")


def _of_zero(parameter: Tensor) -> bool:
    """Whether DeepSpeed holds its optimizer state."""
    return _of_zero3(parameter) or hasattr(parameter, "_hp_mapping")


def _share(value: Tensor, like: DTensor) -> Tensor:
    """Return this process's share of a whole tensor, without asking the others."""
    placed = distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    local: Tensor = placed.to_local().to(like.to_local().device)
    return local


def _keys(names: set[str], name: str) -> list[str]:
    """Return the keys of a parameter's optimizer state, as in ``exp_avg``."""
    end = f".{name}"
    return sorted(
        stored.removeprefix("optimizer.").removesuffix(end)
        for stored in names
        if stored.startswith("optimizer.") and stored.split(".", 2)[2] == name
    )


def _state_of(parameter: nn.Parameter, optimizer: Any) -> dict[str, Tensor]:
    """Return a parameter's optimizer state, whole; empty before the first step."""
    if not _of_zero(parameter):
        own = optimizer.state.get(parameter, {})
        return {key: whole(value) for key, value in own.items()}
    from deepspeed.utils import safe_get_full_optimizer_state

    zero = optimizer.optimizer
    states: dict[Tensor, dict[str, Any]] = zero.optimizer.state
    _link_states(zero)
    found = {}
    for key, value in next(iter(states.values()), {}).items():
        if key == "step":
            found[key] = torch.tensor(float(value))
        elif isinstance(value, Tensor):
            state = safe_get_full_optimizer_state(parameter, key)
            assert state is not None
            found[key] = state
    return found


def _link_states(zero: Any) -> None:
    """Tell the parameters of ZeRO-1 and 2 where their optimizer state lies.

    DeepSpeed 0.19 does so after the step of the first group of parameters, when others have no
    state yet; ``safe_get_full_optimizer_state`` then fails for them.
    """
    if _is_stage3(zero):
        return
    zero._hp_optimizer_states_linked = False
    zero._lazy_init_hp_params_optimizer_state()


def _is_stage3(zero: Any) -> bool:
    return hasattr(zero, "fp32_partitioned_groups_flat")


def _put_zero_state(
    parameters: Mapping[str, nn.Parameter],
    optimizer: Any,
    kept: Mapping[str, Mapping[str, str]],
    read: Read,
) -> None:
    """Make the flat state that DeepSpeed's first step would make, then fill in the shares."""
    zero = optimizer.optimizer
    if _is_stage3(zero):
        flats = zero.fp32_partitioned_groups_flat
    else:
        flats = zero.single_partition_of_fp32_groups
    stored = next((of for of in kept.values() if of), {})
    fused = bool(zero.optimizer.defaults.get("fused"))
    for flat in flats:
        state: dict[str, Any] = {}
        for key, name in stored.items():
            if key == "step":
                count = read(name)
                state[key] = count.to(flat.device if fused else "cpu").clone()
            else:
                state[key] = torch.zeros_like(flat)
        zero.optimizer.state[flat] = state
    if not stored:
        return
    _link_states(zero)
    for name, parameter in parameters.items():
        for key, place in kept[name].items():
            if key != "step":
                _put_zero(parameter, read(place), key)


def _put_zero(parameter: Any, value: Tensor, key: str | None = None) -> None:
    """Set this process's share of a float32 parameter, or of a piece of its optimizer state."""
    from deepspeed import utils

    value = value.to(parameter.device, torch.float32)
    if not _of_zero3(parameter):
        if key is None:
            utils.safe_set_full_fp32_param(parameter, value)
        else:
            utils.safe_set_full_optimizer_state(parameter, value, key)
        return
    # Every share of ZeRO-3 has the same length, the last one filled up.
    length = parameter.ds_tensor.numel()
    places = torch.distributed.get_world_size() * length
    filled = functional.pad(value.flatten(), (0, places - value.numel()))
    share = filled[torch.distributed.get_rank() * length :][:length]
    if key is None:
        utils.safe_set_local_fp32_param(parameter, share)
    else:
        utils.safe_set_local_optimizer_state(parameter, share, key)
