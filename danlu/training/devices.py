"""Devices and processes: the recipe's strategy as an ``Accelerator``, and a model put on them.

All of it is Accelerate's work, which drives PyTorch's DDP and FSDP2 and DeepSpeed's ZeRO. What is
here chooses among them, refuses what cannot work, and evens out the few places where they want to
be called differently. Whole tensors of what they hold in shares are made in ``gathering``; how a
process gets at the weights that others hold is in ``shares``.

Strategies, as ``strategy`` names them: ``none`` (one process), ``ddp``, ``fsdp2``, ``zero1``,
``zero2``, ``zero3``.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    AutocastKwargs,
    DeepSpeedPlugin,
    DistributedType,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
)
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from danlu.config.recipe import Recipe
from danlu.errors import ModelError, RecipeError, TrainingError
from danlu.models.adapters import unwrapped
from danlu.models.layers import decoder_layers
from danlu.models.load import pick_device, pick_dtype
from danlu.models.readout import Readout
from danlu.training.together import must_share_packs

ZERO_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}
SHARDS_WEIGHTS = ("fsdp2", "zero3")

REDUCE_BUCKET = 500_000_000
"""Most gradients that ZeRO reduces at a time, as DeepSpeed's default; a buffer of this length."""


def launched_processes() -> int:
    """How many processes a launcher started, by the variable that all of them set."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def chosen_strategy(recipe: Recipe, processes: int) -> str:
    """Return the strategy that takes effect; in one process, which shares nothing out, ``none``.

    With ``devices.offload`` one process keeps its strategy: there is the host to share with.

    Example:
        >>> recipe = Recipe(name="x", devices={"strategy": "fsdp2"})
        >>> chosen_strategy(recipe, 2), chosen_strategy(recipe, 1)
        ('fsdp2', 'none')
    """
    devices = recipe.devices
    if processes == 1 and devices.offload == "none":
        return "none"
    return "ddp" if devices.strategy == "auto" else devices.strategy


def describe_devices(recipe: Recipe, accelerator: Accelerator) -> list[str]:
    """Say what the processes share, where there is something to say."""
    asked, processes = recipe.devices.strategy, accelerator.num_processes
    used = strategy(accelerator)
    if used == "none":
        if asked in ("auto", "ddp"):
            return []
        return [
            f"one process: devices.strategy {asked} has nothing to share out and does nothing; "
            "`danlu launch RECIPE --processes N` starts several"
        ]
    shares = {
        "ddp": "each holds the whole model",
        "zero1": "the optimizer's state is shared out",
        "zero2": "gradients and the optimizer's state are shared out",
        "zero3": "weights, gradients and the optimizer's state are shared out",
        "fsdp2": "weights, gradients and the optimizer's state are shared out",
    }[used]
    waits = {
        "none": "",
        "optimizer": "; the optimizer's state is in the host's memory",
        "all": "; what is not in use is in the host's memory",
    }[recipe.devices.offload]
    number = "1 process" if processes == 1 else f"{processes} processes"
    size = recipe.devices.context_parallel
    together = f"; every {size} compute their packs together" if size > 1 else ""
    return [f"{number}, {used}: {shares}{waits}{together}"]


def make_accelerator(recipe: Recipe, processes: int) -> Accelerator:
    """Make the Accelerator for the recipe's device, precision, strategy and trackers.

    Args:
        recipe: ``devices``, ``training.device``, ``model.precision``, ``logging.trackers``.
        processes: How many were launched.

    Raises:
        RecipeError: If the strategy cannot work here, or with the recipe's other settings.
        TrainingError: If this process has already made one for another strategy.
    """
    device = pick_device(recipe.training.device)
    used = chosen_strategy(recipe, processes)
    _must_work(recipe, used, device)
    must_share_packs(recipe, processes)
    if used in ZERO_STAGES:
        _must_be_first(used)
    _forget_last_run()
    bfloat16 = pick_dtype(recipe.model.precision, device) == torch.bfloat16
    on_cpu = device.type == "cpu"
    options: dict[str, Any] = {
        "cpu": on_cpu,
        "mixed_precision": "bf16" if bfloat16 else "no",
        "log_with": list(recipe.logging.trackers) or None,
        "project_dir": str(Path(recipe.runs_dir) / recipe.name / "trackers"),
    }
    group: dict[str, Any] = {"timeout": timedelta(seconds=recipe.devices.timeout_s)}
    if used == "fsdp2":
        options["fsdp_plugin"] = _fsdp2_plugin(recipe, bfloat16=bfloat16)
        if not on_cpu and recipe.devices.offload == "all":
            group["backend"] = "cuda:nccl,cpu:gloo"  # the norm of gradients that lie on the host
    elif used in ZERO_STAGES:
        # DeepSpeed 0.19 calls what PyTorch 2.13 has renamed, at every step.
        warnings.filterwarnings("ignore", r".*`torch\.distributed\..*is deprecated", FutureWarning)
        options["deepspeed_plugin"] = DeepSpeedPlugin(
            hf_ds_config=_zero_config(recipe, ZERO_STAGES[used], bfloat16=bfloat16),
            zero3_init_flag=False,
        )
        # DeepSpeed does the casting, and finds the CPU by itself where there is nothing else.
        options |= {"cpu": False, "mixed_precision": "no"}
        if on_cpu:
            group["backend"] = "gloo"
    # A weight is cast once for a pack, where it is used. Autocast's cache would hold narrow copies
    # of all weights until the pack's end, also where activations are made anew to save memory.
    handlers = [InitProcessGroupKwargs(**group), AutocastKwargs(cache_enabled=False)]
    accelerator = Accelerator(**options, kwargs_handlers=handlers)
    if used == "fsdp2" and on_cpu and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # Accelerate offers its FSDP on accelerators only; all that it calls works with gloo too.
        for state in (PartialState(), accelerator.state):
            state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = options["fsdp_plugin"]
    if used in ZERO_STAGES:
        _load_whole_models()
    if processes == accelerator.num_processes and strategy(accelerator) != used:
        raise TrainingError(
            f"this process already trains with strategy {strategy(accelerator)} and cannot change "
            f"to {used}: start another one.",
            where="devices.strategy",
        )
    return accelerator


def close(accelerator: Accelerator) -> None:
    """Let trackers write what they hold back.

    The processes stay connected, for another run; they part when they exit.
    """
    for tracker in accelerator.trackers:
        tracker.finish()


def strategy(accelerator: Accelerator) -> str:
    """Return the strategy in effect, by its name in the recipe; ``none`` in one process."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return f"zero{accelerator.state.deepspeed_plugin.zero_stage}"
    if accelerator.is_fsdp2:
        return "fsdp2"
    return "ddp" if accelerator.num_processes > 1 else "none"


def shards_weights(accelerator: Accelerator) -> bool:
    """Whether no process holds a whole model."""
    return strategy(accelerator) in SHARDS_WEIGHTS


def loading_device(accelerator: Accelerator) -> torch.device:
    """Return where the model is read to: the host if it is shared out from there, else its device.

    So a model larger than a device never lies on one as a whole.
    """
    return torch.device("cpu") if shards_weights(accelerator) else accelerator.device


def prepare(
    module: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> tuple[nn.Module, Any]:
    """Hand model and optimizer to the engine.

    With fsdp2 the parameters are other objects afterwards: ask the module for them again.

    Args:
        module: A ``ScoringModel``, or a ``PolicyModel`` around one, as loaded; changed in place.
        optimizer: Over its parameters, before any step.
        accelerator: Devices and processes.

    Returns:
        The module to call, whose forward is that of ``module``, and the optimizer to use.

    Raises:
        RecipeError: If the weights are to be shared out by layers, and the model shows none.
    """
    used = strategy(accelerator)
    if used != "fsdp2" and used not in ZERO_STAGES:
        return accelerator.prepare(module), optimizer
    called = {id(parameter): name for name, parameter in module.named_parameters()}
    names = [[called[id(part)] for part in group["params"]] for group in optimizer.param_groups]
    if used == "fsdp2":
        plugin = accelerator.state.fsdp_plugin
        plugin.transformer_cls_names_to_wrap = _layer_classes(module, used)
        for head in [part for part in module.modules() if isinstance(part, Readout)]:
            if plugin.mixed_precision_policy is not None:
                # Not cast: its numbers are compared.
                fully_shard(head, offload_policy=plugin.cpu_offload)
        # Accelerate finds them again by their addresses, and all empty shares have the same one.
        for group in optimizer.param_groups:
            group["params"] = []
    else:
        _fit_zero(module, accelerator)
    model, wrapped = accelerator.prepare(module, optimizer)
    if used == "fsdp2":
        fresh = dict(module.named_parameters())
        for group, own in zip(optimizer.param_groups, names, strict=True):
            group["params"] = [fresh[name] for name in own]
    return model, wrapped


@contextmanager
def accumulating(accelerator: Accelerator, model: nn.Module, *, last: bool) -> Iterator[None]:
    """Let one pack's gradients be added up; over the processes, with the last pack of a step.

    With DeepSpeed the last backward pass makes the update too.
    """
    if strategy(accelerator) in ZERO_STAGES:
        accelerator.sync_gradients = last
        yield
    elif last:
        yield
    else:
        with accelerator.no_sync(model):
            yield


def clip_gradients(
    accelerator: Accelerator, parameters: Iterable[nn.Parameter], max_norm: float
) -> float:
    """Clip a step's gradients by their norm over all processes, and return that norm.

    DeepSpeed has done so by then. A norm that is not finite made it leave out the update.

    Args:
        accelerator: Devices and processes.
        parameters: All that move.
        max_norm: Largest norm; ``inf`` clips nothing.
    """
    norm = accelerator.clip_grad_norm_(list(parameters), max_norm)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return float(norm)


def outside_steps(model: nn.Module, accelerator: Accelerator) -> Any:
    """Return what to call for evaluation: the engine where it gathers or casts, else the module.

    Every process must call it equally often. It takes what ``ScoringModel.forward`` takes.
    """
    if strategy(accelerator) in ("none", "ddp"):
        return accelerator.unwrap_model(model)
    return model


def _must_work(recipe: Recipe, used: str, device: torch.device) -> None:
    """Refuse what Accelerate would fail at later, or do wrong."""
    if used in ("none", "ddp"):
        return
    if used in ZERO_STAGES and importlib.util.find_spec("deepspeed") is None:
        raise RecipeError(
            f"{used} needs the package deepspeed, which is not installed: "
            "pip install 'danlu[deepspeed]', or use fsdp2.",
            where="devices.strategy",
        )
    if device.type == "mps":
        raise RecipeError(
            f"{used} does not work on Apple's GPUs: use training.device cpu, or one process.",
            where="devices.strategy",
        )
    if device.type == "cpu" and torch.cuda.is_available():
        raise RecipeError(
            f"{used} takes the GPU that this machine has, and training.device is cpu: remove that "
            "setting, or hide the GPU by CUDA_VISIBLE_DEVICES= before the command.",
            where="devices.strategy",
        )
    if device.type == "cpu" and recipe.devices.offload != "none":
        raise RecipeError(
            f"is {recipe.devices.offload}, and on the CPU all is in the host's memory already: "
            "set none.",
            where="devices.offload",
        )
    if recipe.tuning.method == "qlora" and used in SHARDS_WEIGHTS:
        raise RecipeError(
            f"{used} shares out weights, and quantised ones cannot be: use ddp or zero2, or "
            "tuning.method lora.",
            where="devices.strategy",
        )
    if "LOCAL_RANK" not in os.environ:
        raise RecipeError(
            f"is {recipe.devices.offload}, which needs a launcher even for one process: "
            "danlu launch RECIPE --processes 1.",
            where="devices.offload",
        )


def _forget_last_run() -> None:
    """Let devices and precision be chosen anew; Accelerate keeps the first choice of a process.

    The connection between the processes stays. It has to be closed before the interpreter goes.
    """
    AcceleratorState._reset_state()
    state = PartialState._shared_state
    if state.get("distributed_type") == DistributedType.FSDP:  # as set below, on the CPU
        state["distributed_type"] = DistributedType.MULTI_CPU
    atexit.unregister(_part)
    atexit.register(_part)


def _part() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _must_be_first(used: str) -> None:
    """Say in our words what Accelerate refuses: DeepSpeed cannot be set up twice."""
    state = AcceleratorState._shared_state
    if state and state.get("distributed_type") == DistributedType.DEEPSPEED:
        raise TrainingError(
            f"this process has trained with DeepSpeed before, and {used} cannot be set up again: "
            "start another one.",
            where="devices.strategy",
        )


def _fsdp2_plugin(recipe: Recipe, *, bfloat16: bool) -> FullyShardedDataParallelPlugin:
    """Make the settings of FSDP2: a unit per decoder layer, the rest in the root's.

    The root's weights (embeddings, the last norm, the output head, readouts) are whole during the
    forward pass of ``ScoringModel``, so that the head's matrix can be read by hand in it.
    Weights are gathered in the number format of the computation; gradients are summed in float32.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        reshard_after_forward=True,
        cpu_offload=recipe.devices.offload == "all",
        mixed_precision_policy=policy if bfloat16 else None,
        cpu_ram_efficient_loading=False,
    )


def _zero_config(recipe: Recipe, stage: int, *, bfloat16: bool) -> dict[str, Any]:
    """Return DeepSpeed's configuration.

    Weights that move stay in float32 and are cast for the computation, as without DeepSpeed, so its
    own ``bf16`` is off.
    """
    zero: dict[str, Any] = {"stage": stage}
    if recipe.devices.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if recipe.devices.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": recipe.training.max_grad_norm,
        "zero_optimization": zero,
    }
    if bfloat16:
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config


def _load_whole_models() -> None:
    """Let transformers read models as ever: with ZeRO-3 set up it would share them out at once.

    Adapters, new tokens and probes want whole weights first.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def _fit_zero(module: Any, accelerator: Accelerator) -> None:
    """Fill in what depends on the model; with stage 3, share out its weights one by one."""
    plugin = accelerator.state.deepspeed_plugin
    zero = plugin.deepspeed_config["zero_optimization"]
    moving = sum(part.numel() for part in module.parameters() if part.requires_grad)
    zero["reduce_bucket_size"] = min(REDUCE_BUCKET, moving)
    if plugin.zero_stage < 3:
        return
    import deepspeed

    # A layer of which no input has a gradient would be let go before its own gradients are made.
    unwrapped(module.model).enable_input_require_grads()
    # A decoder layer is gathered as a whole, however its parts read their weights.
    plugin.transformer_moe_cls_names = ",".join(_layer_classes(module, "zero3"))
    width = unwrapped(module.model).config.get_text_config().hidden_size
    # Vectors stay whole, as with "auto" in Accelerate and transformers.
    zero["stage3_param_persistence_threshold"] = 10 * width
    deepspeed.zero.Init(module=module, config_dict_or_path=plugin.deepspeed_config)
    for buffer in module.buffers():
        buffer.data = buffer.data.to(accelerator.device)


def _layer_classes(module: Any, used: str) -> list[str]:
    """Return the names of the decoder layers' classes."""
    base = unwrapped(module.model)
    try:
        _, layers = decoder_layers(base)
    except ModelError as error:
        raise RecipeError(
            f"{used} shares out weights layer by layer, and {type(base).__name__} has no list of "
            "decoder layers: use ddp or zero2.",
            where="devices.strategy",
        ) from error
    return sorted({type(layer).__name__ for layer in layers})
