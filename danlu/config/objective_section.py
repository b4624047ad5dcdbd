"""Settings of the objective."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from danlu.config.section import Section, setting

OBJECTIVE_SETTINGS: dict[str, tuple[str, ...]] = {
    "nll": (),
    "reward": ("margin_weight", "centering", "ties"),
    "dpo": ("loss", "beta", "label_smoothing", "length_normalised", "sft_weight"),
    "kto": ("beta", "desirable_weight", "undesirable_weight"),
    "orpo": ("beta",),
    "simpo": ("beta", "gamma", "sft_weight"),
    "cpo": ("beta", "label_smoothing", "sft_weight"),
    "classify": (
        *("classes", "multi_label", "threshold", "class_weights", "label_smoothing"),
        *("label_separator", "pooling"),
    ),
    "ppo": (
        *("kl_weight", "kl_target", "kl_gain", "gamma", "gae_lambda"),
        *("clip", "value_clip", "value_weight", "entropy_weight"),
    ),
    "grpo": ("clip_low", "clip_high", "kl_weight", "divide_by_std", "normalise", "max_tokens"),
    "distil": ("divergence", "temperature", "nll_weight", "top_k"),
}
"""Which settings each objective reads, besides its name."""

WITH_REFERENCE = ("dpo", "kto")
"""Objectives that compare the policy with a reference."""

WITH_TEACHER = ("distil",)
"""Objectives that learn from another model's distributions."""

WITH_ROLLOUTS = ("ppo", "grpo")
"""Objectives that learn from answers which the policy samples itself."""


class ObjectiveSection(Section):
    """What is minimised. A setting that is left out has the objective's own default."""

    name: Literal[
        "nll", "reward", "dpo", "kto", "orpo", "simpo", "cpo", "classify", "ppo", "grpo", "distil"
    ] = setting(
        "nll",
        "nll learns turns or documents; reward scores answers; dpo, orpo, simpo and cpo prefer "
        "better answers to worse ones, kto learns from thumbs up and down; classify tells texts of "
        "different classes apart; ppo and grpo sample answers and learn from their rewards; distil "
        "learns what a teacher says at every token.",
    )
    reference: Literal["precomputed", "adapter_off"] = setting(
        "precomputed",
        "With dpo and kto: the reference's log-probabilities are computed once before training, "
        "or at each step with the adapter switched off.",
    )
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] | None = setting(
        None, "dpo: shape of the loss; sigmoid.", "arXiv:2305.18290"
    )
    beta: float | None = setting(
        None,
        "Strength of the hold to the reference, or scale of the reward: dpo, kto, orpo and cpo "
        "0.1, simpo 2.",
        "arXiv:2305.18290, 2402.01306, 2403.07691, 2401.08417, 2405.14734",
    )
    label_smoothing: float | None = setting(
        None,
        "dpo (sigmoid, robust) and cpo: share of labels taken to be flipped; 0. classify: share of "
        "a label that is spread over all classes; 0.",
        "classify: arXiv:1512.00567, 0.1",
    )
    length_normalised: bool | None = setting(
        None, "dpo: log-ratios per token, so that length is no advantage; only with loss ipo."
    )
    sft_weight: float | None = setting(
        None, "Weight of the better answer's nll per token: dpo and simpo 0, cpo 1."
    )
    gamma: float | None = setting(
        None,
        "simpo: margin of the rewards; 1. ppo: discount per token; 1.",
        "arXiv:2405.14734, 2203.02155",
    )
    desirable_weight: float | None = setting(
        None, "kto: weight of answers with thumbs up; 1.", "arXiv:2402.01306"
    )
    undesirable_weight: float | None = setting(
        None, "kto: weight of answers with thumbs down; 1.", "arXiv:2402.01306"
    )
    margin_weight: float | None = setting(
        None, "reward: margin asked per point that the data's scores differ by; 0.", "2307.09288"
    )
    centering: float | None = setting(
        None, "reward: weight of the squared mean score, which fixes its zero; 0.", "2312.09244"
    )
    ties: Literal["refuse", "allow"] | None = setting(
        None, "reward: answers of equal rank; allow does not compare them with each other."
    )
    classes: list[str] | None = setting(
        None, "classify: names of the classes; none finds them in the training data."
    )
    multi_label: bool | None = setting(
        None, "classify: a record has any number of classes, not exactly one; false."
    )
    threshold: float | None = setting(
        None, "classify with multi_label: a class is said from this probability on; 0.5."
    )
    class_weights: Literal["none", "balanced"] | None = setting(
        None, "classify: balanced lets rare classes weigh as much as common ones; none."
    )
    label_separator: str | None = setting(
        None,
        "classify with multi_label: what stands between classes in one text; a comma, with ， and "
        "、 among them.",
    )
    pooling: Literal["auto", "first", "last", "mean"] | None = setting(
        None,
        "classify: which hidden state is read: auto is the first token's of an encoder and the "
        "last one's of a decoder; mean, of encoders, that of all tokens.",
        "first: arXiv:1810.04805",
    )
    kl_weight: float | None = setting(
        None,
        "ppo and grpo: price of a nat of KL to the reference; 0.02 and 0.04.",
        "arXiv:2203.02155, 2402.03300",
    )
    kl_target: float | None = setting(
        None,
        "ppo: nats of KL per answer that kl_weight is steered to; none keeps it as it is.",
        "arXiv:1909.08593: 6, beginning with kl_weight 0.2",
    )
    kl_gain: float | None = setting(
        None, "ppo: how fast it is steered; 0.1.", "arXiv:1909.08593, section 2.2"
    )
    gae_lambda: float | None = setting(
        None, "ppo: 0 trusts the critic, 1 the rewards; 0.95.", "arXiv:1909.08593"
    )
    clip: float | None = setting(
        None, "ppo: how far a token's probability may move from its old one; 0.2.", "1707.06347"
    )
    value_clip: float | None = setting(
        None, "ppo: how far a value may move; 0.2, and 0 is as far as it likes.", "1909.08593"
    )
    value_weight: float | None = setting(
        None, "ppo: weight of the critic's loss; 0.1.", "arXiv:1909.08593"
    )
    entropy_weight: float | None = setting(None, "ppo: weight of an entropy bonus; 0.")
    clip_low: float | None = setting(
        None, "grpo: how far a probability ratio may fall below 1; 0.2.", "arXiv:2402.03300"
    )
    clip_high: float | None = setting(
        None, "grpo: how far it may rise above 1; 0.2.", "arXiv:2503.14476: 0.28"
    )
    divide_by_std: bool | None = setting(
        None, "grpo: divide by the spread of a group's rewards; true.", "2503.20783: false"
    )
    normalise: Literal["sequence", "token", "constant"] | None = setting(
        None,
        "grpo: what counts equally: answers, tokens, or tokens over max_tokens; sequence.",
        "sequence: arXiv:2402.03300, token: 2503.14476, constant: 2503.20783",
    )
    max_tokens: int | None = setting(
        None, "grpo with normalise constant: the constant, usually rollouts.max_new_tokens."
    )

    teacher: str | None = setting(
        None,
        "distil: the model to learn from, of the same vocabulary: a folder, a GGUF file, a hub id, "
        "a run directory, or builtin:NAME.",
    )
    teacher_scores: Literal["precomputed", "each_step"] | None = setting(
        None,
        "distil: the teacher's top_k tokens are computed once before training and kept beside the "
        "prepared data, or the teacher runs at each step; none: precomputed where top_k is set.",
    )
    divergence: Literal["forward", "reverse"] | None = setting(
        None,
        "distil: forward covers all that the teacher would say, reverse says only what the teacher "
        "would; forward.",
        "arXiv:1503.02531; reverse: 2306.08543",
    )
    temperature: float | None = setting(
        None, "distil: softens both distributions; 1.", "arXiv:1503.02531"
    )
    nll_weight: float | None = setting(
        None, "distil: share of the plain loss on the data's own tokens; 0.5."
    )
    top_k: int | None = setting(
        None,
        "distil: how many of the teacher's likeliest tokens are compared one by one, all others as "
        "one; none: the whole vocabulary.",
    )

    @property
    def keeps_teacher(self) -> bool:
        """Whether the teacher runs once before training, and what it says is kept.

        Example:
            >>> ObjectiveSection(name="distil", top_k=64).keeps_teacher
            True
        """
        if self.name not in WITH_TEACHER:
            return False
        return (self.teacher_scores or ("precomputed" if self.top_k else "each_step")) == (
            "precomputed"
        )

    def reads(self, name: str) -> bool:
        """Whether the objective reads a setting.

        Example:
            >>> ObjectiveSection(name="dpo").reads("gamma")
            False
        """
        return name in self._known()

    def given(self) -> dict[str, Any]:
        """Return the objective's own settings that are set.

        Example:
            >>> ObjectiveSection(name="dpo", beta=0.2).given()
            {'beta': 0.2}
        """
        values = {name: getattr(self, name) for name in OBJECTIVE_SETTINGS[self.name]}
        return {name: value for name, value in values.items() if value is not None}

    def _known(self) -> set[str]:
        known = {"name", *OBJECTIVE_SETTINGS[self.name]}
        if self.name in WITH_REFERENCE:
            known.add("reference")
        if self.name in WITH_TEACHER:
            known |= {"teacher", "teacher_scores"}
        return known

    @model_validator(mode="after")
    def _objective_has_its_own_settings(self) -> Self:
        for name in sorted(self.model_fields_set - self._known()):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} does nothing with objective {self.name}: remove it")
        return self

    @model_validator(mode="after")
    def _what_is_kept_is_short(self) -> Self:
        if self.teacher_scores == "precomputed" and self.top_k is None:
            raise ValueError(
                "teacher_scores precomputed keeps the teacher's likeliest tokens: set top_k (64 is "
                "usual), or use each_step"
            )
        return self
