"""TRL's own losses on given log-probabilities: its methods, called on a stand-in for the trainer.

The stand-in holds the settings that a method reads; the model is a function that returns what it
was given. Nothing else of TRL is built. Tests that use this skip where TRL is not installed.
"""

from __future__ import annotations

import importlib
import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor


class OneProcess:
    """What TRL asks of an accelerator, on one process."""

    device = torch.device("cpu")
    num_processes = 1

    def gather(self, values: Tensor) -> Tensor:
        return values

    def gather_for_metrics(self, values: Tensor) -> Tensor:
        return values

    def reduce(self, values: Tensor, reduction: str) -> Tensor:
        assert reduction == "sum"
        return values


def trl_class(module: str, name: str) -> Any:
    """Import a class of TRL; its warnings about its own future are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("trl")
        return getattr(importlib.import_module(module), name)


def stand_in(training: bool = True, **settings: Any) -> SimpleNamespace:
    metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    return SimpleNamespace(
        model=SimpleNamespace(training=training),
        accelerator=OneProcess(),
        aux_loss_enabled=False,
        _metrics=metrics,
        _total_train_tokens=0,
        _tp_size=1,
        **settings,
    )


def model_with(logprobs_NT: Tensor) -> Any:
    """A model whose output has these log-probabilities, and zeros for what is only reported."""
    nothing_NT = torch.zeros_like(logprobs_NT)
    output = SimpleNamespace(
        log_probs=logprobs_NT,
        entropy=nothing_NT,
        mean_logits=nothing_NT,
        is_top1=nothing_NT.bool(),
    )
    return lambda **_: output


def batch_of(completion_NT: Tensor) -> dict[str, Tensor]:
    """A prompt of one token, and completions where ``completion_NT`` is 1."""
    prompt_N1 = torch.zeros_like(completion_NT[:, :1])
    mask = torch.cat([prompt_N1, completion_NT], 1)
    return {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }


def dpo(
    policy_2T: Tensor, completion_2T: Tensor, reference_2: Tensor, **settings: Any
) -> tuple[Tensor, dict[str, list[float]]]:
    """Return the loss of one pair, and what TRL reports of it."""
    trainer = trl_class("trl.trainer.dpo_trainer", "DPOTrainer")
    state = stand_in(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        **settings,
    )
    batch = batch_of(completion_2T)
    batch["ref_chosen_logps"], batch["ref_rejected_logps"] = reference_2.split(1)
    loss = trainer._compute_loss(state, model_with(policy_2T), batch, False)
    return loss, state._metrics["train"]


def kto(
    policy_N: Tensor,
    reference_N: Tensor,
    desirable_N: Tensor,
    mismatched_M: Tensor,
    mismatched_reference_M: Tensor,
    **settings: Any,
) -> tuple[Tensor, dict[str, list[float]]]:
    """Return the mean loss of N completions, and what TRL reports of them."""
    trainer = trl_class("trl.trainer.kto_trainer", "KTOTrainer")
    state = stand_in(
        loss_type="kto",
        calculate_KL=True,
        precompute_ref_logps=True,
        _compute_kl_logps=lambda model, batch: mismatched_M,
        **settings,
    )
    batch = batch_of(torch.ones(len(policy_N), 1, dtype=torch.int64))
    batch |= {
        "label": desirable_N,
        "ref_logps": reference_N,
        "ref_KL_logps": mismatched_reference_M,
    }
    loss = trainer._compute_loss(state, model_with(policy_N.unsqueeze(1)), batch, False)
    return loss, state._metrics["train"]


def orpo(chosen_P: Tensor, rejected_P: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is taken off the nll, and the rewards; log-probabilities are means per token."""
    trainer = trl_class("trl.experimental.orpo.orpo_trainer", "ORPOTrainer")
    return trainer.odds_ratio_loss(stand_in(beta=beta), chosen_P, rejected_P)[:3]


def cpo(chosen_P: Tensor, rejected_P: Tensor, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses without the supervised term, and rewards; SimPO is one of its settings."""
    trainer = trl_class("trl.experimental.cpo.cpo_trainer", "CPOTrainer")
    return trainer.cpo_loss(stand_in(alpha=0.0, **settings), chosen_P, rejected_P)


def reward(
    chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor | None, centering: float | None
) -> tuple[Tensor, dict[str, list[float]]]:
    """Return the mean loss of P pairs, and what TRL reports of them."""
    trainer = trl_class("trl.trainer.reward_trainer", "RewardTrainer")
    state = stand_in(args=SimpleNamespace(center_rewards_coefficient=centering))
    scores = torch.cat([chosen_P, rejected_P]).unsqueeze(1)
    inputs = {"attention_mask": torch.ones(len(scores), 1)}
    if margin_P is not None:
        inputs["margin"] = margin_P
    loss = trainer.compute_loss(state, lambda **_: SimpleNamespace(logits=scores), inputs)
    return loss, state._metrics["train"]


def grpo(
    policy_NT: Tensor,
    old_NT: Tensor,
    reference_NT: Tensor,
    advantage_N: Tensor,
    completion_NT: Tensor,
    **settings: Any,
) -> tuple[Tensor, dict[str, list[float]]]:
    """Return the loss of N answers, and what TRL reports of them."""
    trainer = trl_class("trl.trainer.grpo_trainer", "GRPOTrainer")
    state = stand_in(
        training=False,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        importance_sampling_level="token",
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            policy_NT,
            torch.zeros_like(policy_NT),
            None,
        ),
        **settings,
    )
    prompt_N1 = torch.zeros_like(completion_NT[:, :1])
    inputs = {
        "prompt_ids": prompt_N1,
        "prompt_mask": prompt_N1 + 1,
        "completion_ids": torch.zeros_like(completion_NT),
        "completion_mask": completion_NT,
        "advantages": advantage_N,
        "old_per_token_logps": old_NT,
        "ref_per_token_logps": reference_NT,
        "num_items_in_batch": completion_NT.sum(),
    }
    return trainer._compute_loss(state, None, inputs), state._metrics["eval"]
