"""What a run would do, before it does it: ``danlu train --dry-run``.

Data are prepared for real, so counts are exact. Time is a product of measured numbers: the work of
the steps, by the matrix products it is made of, over this machine's own rate in such products.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from danlu.config.recipe import WITH_TEACHER, Recipe
from danlu.models.load import load_config, load_tokenizer, pick_device, pick_dtype
from danlu.models.products import product
from danlu.models.rope import length_notes
from danlu.models.tokens import add_tokens
from danlu.objectives import build_objective
from danlu.training.data import TrainingData, make_data, must_name_data
from danlu.training.labelled import chat_template
from danlu.training.mixing import mix_lines, record_order
from danlu.training.order import RecordOrder
from danlu.training.scoring import Packing
from danlu.training.setup import pack_tokens
from danlu.training.teacher import must_name_teacher, shared_vocabulary
from danlu.training.trackers import check_trackers

STEPS_LOOKED_AT = 50
"""Steps whose forests are built for the estimate; the rest is taken to be like them."""
SHARE_OF_RATE = 0.6
"""Share of the matrix rate that training reaches here (``make bench``: 0.55 to 0.7)."""
MOVING_BYTES = 16
"""Of a weight that moves: itself, its gradient and AdamW's two moments, all float32."""
QUANTISED_BYTES = {"nf4": 0.52, "int8": 1.0}
"""Of a quantised weight; with NF4 4 bits and 0.127 of constants (arXiv:2305.14314, section 3)."""
OTHER_SHARE = 0.05
"""Share of the weights that methods other than full, lora and qlora move at most."""


@dataclass(frozen=True)
class TaskTypePlan:
    """One task type of a plan.

    Attributes:
        task_type: Its name.
        records: Records that are trained.
        branches: Branches, one per trained turn.
        tokens: Tokens of all branches, one after another.
        supervised_tokens: Tokens with a weight.
        loss_share: Share of the loss, by weight.
        dropped: What is left out or cut, by reason.
    """

    task_type: str
    records: int
    branches: int
    tokens: int
    supervised_tokens: int
    loss_share: float
    dropped: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        name: Name of the run.
        model: The model to be tuned.
        device: Where.
        task_types: One row each.
        records: Training records.
        eval_records: Held-out records.
        rejected: Rows that are no records.
        steps: Optimizer steps.
        unique_tokens_per_step: Mean over the steps looked at, each shared prefix once.
        packs_per_step: Mean over the same steps.
        shared_share: Share of the branches' tokens that need no work because they are shared.
        total_parameters: Of the model, without adapters.
        train_seconds: Estimate for the training alone.
        memory_bytes: Estimate of the peak.
        notes: What else to know.
    """

    name: str
    model: str
    device: str
    task_types: tuple[TaskTypePlan, ...]
    records: int
    eval_records: int
    rejected: int
    steps: int
    unique_tokens_per_step: float
    packs_per_step: float
    shared_share: float
    total_parameters: int
    train_seconds: float
    memory_bytes: int
    notes: tuple[str, ...]

    def rows(self) -> list[TaskTypePlan]:
        """Return the rows per task type."""
        return list(self.task_types)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-able data."""
        return asdict(self)


def dry_run(recipe: Recipe) -> Plan:
    """Prepare the data, count, and estimate; nothing is trained and nothing is written.

    Raises:
        DanluError: For everything that would stop the run before its first step.
    """
    must_name_data(recipe)
    if recipe.objective.name in WITH_TEACHER:
        must_name_teacher(recipe)
    check_trackers(recipe.logging.trackers)
    device = pick_device(recipe.training.device)
    options: dict[str, Any] = {"trust_remote_code": recipe.model.trust_remote_code}
    tokenizer = load_tokenizer(recipe.model.tokenizer or recipe.model.path, **options)
    add_tokens(tokenizer, recipe.model.new_tokens)
    template = chat_template(recipe, tokenizer)
    data = make_data(recipe, tokenizer, template)
    whole_config = load_config(recipe.model.path, **options, rope=recipe.model.rope)
    notes = length_notes(whole_config, recipe.sequences.max_length)
    config = whole_config.get_text_config()
    settings = recipe.training
    packing = Packing(
        pack_tokens(recipe, device),
        forest=recipe.model.attention != "rows",
        whole_records=build_objective(recipe.objective).whole_records,
    )
    order = record_order(recipe, data.train)
    steps = order.total_steps(settings.epochs, settings.max_steps)
    looked_at = range(min(steps, STEPS_LOOKED_AT))
    unique, packs, plain, predictions = np.mean(
        [_step_work(data, order, packing, step) for step in looked_at], axis=0
    )
    body, head = _matrix_parameters(config)
    is_full = recipe.tuning.method == "full"
    # Per weight of a matrix and token: 2 forward, 2 for the input's gradient, 2 for the weight's.
    work = (6 if is_full else 4) * (body * unique + head * predictions) * steps
    taught = _teacher_work(recipe, tokenizer, unique, predictions, steps)
    dtype = pick_dtype(recipe.model.precision, device)
    rate = _matrix_rate(device, dtype, config.hidden_size)
    total = body + config.vocab_size * config.hidden_size * (
        1 if getattr(config, "tie_word_embeddings", False) else 2
    )
    return Plan(
        name=recipe.name,
        model=recipe.model.path,
        device=str(device),
        task_types=_task_types(data),
        records=len(data.train),
        eval_records=len(data.eval) if data.eval else 0,
        rejected=data.rejected,
        steps=steps,
        unique_tokens_per_step=float(unique),
        packs_per_step=float(packs),
        shared_share=float(1 - unique / plain),
        total_parameters=int(total),
        train_seconds=float((work + taught) / (SHARE_OF_RATE * rate)),
        memory_bytes=_memory_bytes(
            recipe, config, (body, total), min(unique, packing.pack_tokens), dtype
        ),
        notes=(*(template.notes if template else ()), *notes, *mix_lines(recipe, data.train)),
    )


def _task_types(data: TrainingData) -> tuple[TaskTypePlan, ...]:
    train = data.train
    lengths = np.diff(train.offsets)
    owner = np.repeat(train.branch_channel, lengths)
    size = len(train.channels)
    weights = np.asarray(train.weights, np.float64)
    shares = np.bincount(owner, weights, minlength=size)
    supervised = np.bincount(owner, weights > 0, minlength=size)
    tokens = np.bincount(train.branch_channel, lengths, minlength=size)
    branches = np.bincount(train.branch_channel, minlength=size)
    records = np.bincount(train.record_channel, minlength=size)
    if not shares.any():  # prompts and texts have no weights: each record counts
        shares = records.astype(np.float64)
    dropped = train.drop_counts()
    rows = [
        TaskTypePlan(
            task_type=name,
            records=int(records[k]),
            branches=int(branches[k]),
            tokens=int(tokens[k]),
            supervised_tokens=int(supervised[k]),
            loss_share=float(shares[k] / shares.sum()),
            dropped=dropped.get(name, {}),
        )
        for k, name in enumerate(train.channels)
        if records[k] or name in dropped
    ]
    gone = sorted(set(dropped) - {row.task_type for row in rows})
    rows += [TaskTypePlan(name, 0, 0, 0, 0, 0.0, dropped[name]) for name in gone]
    return tuple(rows)


def _step_work(
    data: TrainingData, order: RecordOrder, packing: Packing, step: int
) -> tuple[int, int, int, int]:
    """Return unique tokens, packs, tokens without sharing, and predictions of a step."""
    branches = data.train.step(order.step(step))
    packs = packing.packs(branches)
    return (
        sum(pack.tokens for pack in packs),
        len(packs),
        sum(len(branch.input_ids) for branch in branches),
        sum(len(pack.predictor) for pack in packs),
    )


def _matrix_shapes(config: Any) -> list[tuple[int, int]]:
    """Return inputs and outputs of the matrices of one layer, for a Llama-like shape."""
    width, heads = config.hidden_size, config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or width // heads
    queries = heads * head_dim
    keys = (getattr(config, "num_key_value_heads", None) or heads) * head_dim
    inner = getattr(config, "intermediate_size", None) or 4 * width
    attention = [(width, queries), (width, keys), (width, keys), (queries, width)]
    return [*attention, (width, inner), (width, inner), (inner, width)]


def _matrix_parameters(config: Any) -> tuple[int, int]:
    """Return the weights in the layers' matrices and in the head, for a Llama-like shape."""
    of_layer = sum(inputs * outputs for inputs, outputs in _matrix_shapes(config))
    return config.num_hidden_layers * of_layer, config.hidden_size * config.vocab_size


def _teacher_work(
    recipe: Recipe, tokenizer: Any, unique: float, predictions: float, steps: int
) -> float:
    """Return the floating-point operations of a teacher's forward passes; 0 without one.

    Raises:
        RecipeError: If it has another vocabulary.
    """
    objective = recipe.objective
    if objective.name not in WITH_TEACHER:
        return 0.0
    shared_vocabulary(recipe, tokenizer)
    options: dict[str, Any] = {"trust_remote_code": recipe.model.trust_remote_code}
    config = load_config(str(objective.teacher), **options).get_text_config()
    body, head = _matrix_parameters(config)
    passes = steps
    if objective.keeps_teacher:  # once over the data, however many epochs there are
        passes = min(steps, max(1, round(steps / recipe.training.epochs)))
    return 2 * (body * unique + head * predictions) * passes


def _matrix_rate(device: torch.device, dtype: torch.dtype, width: int) -> float:
    """Measure floating-point operations per second of a product of the model's width.

    The best of a few tries: on a busy machine it says what an idle one would do.
    """
    rows = torch.randn(1024, width, device=device, dtype=dtype)
    weight = torch.randn(4 * width, width, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(12):
        began = time.perf_counter()
        product(rows, weight)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * rows.numel() * weight.shape[0] / best


def _memory_bytes(
    recipe: Recipe, config: Any, weights: tuple[float, float], tokens: float, dtype: torch.dtype
) -> int:
    """Estimate the peak: weights, gradients, optimizer, activations of one pack, the program.

    Args:
        recipe: What moves, and how.
        config: The model's.
        weights: In the layers' matrices, and in all.
        tokens: Of a pack.
        dtype: Of weights that do not move, and of the computation.
    """
    program = 700e6  # torch and transformers themselves, measured
    layers = config.num_hidden_layers
    # Floats kept per token and layer: norms' inputs and outputs, projections, attention, MLP.
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    kept = 12 * config.hidden_size + 4 * inner
    if recipe.training.gradient_checkpointing:
        activations = tokens * (layers * config.hidden_size + kept)
    else:
        activations = tokens * layers * kept
    return int(
        program + _state_bytes(recipe, config, weights, dtype) + dtype.itemsize * activations
    )


def _state_bytes(
    recipe: Recipe, config: Any, weights: tuple[float, float], dtype: torch.dtype
) -> float:
    """Estimate weights, gradients and the optimizer's state."""
    matrices, total = weights
    tuning = recipe.tuning
    if tuning.method == "full":
        return MOVING_BYTES * total
    frozen = dtype.itemsize * total
    if tuning.method == "qlora":
        frozen -= (dtype.itemsize - QUANTISED_BYTES[tuning.quantisation]) * matrices
    moving = OTHER_SHARE * total
    if tuning.method in ("lora", "qlora"):
        moving = tuning.lora_rank * sum(map(sum, _matrix_shapes(config))) * config.num_hidden_layers
    return frozen + MOVING_BYTES * moving
