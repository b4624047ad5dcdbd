"""Settings of the tuning method."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from danlu.config.section import PRACTICE, Section, setting


class TuningSection(Section):
    """How much of the model moves."""

    method: Literal["lora", "qlora", "full", "ia3", "adapter", "prefix", "prompt", "ptuning"] = (
        setting(
            "lora",
            "lora: low-rank adapters; qlora: the same over a quantised model; full: the weights; "
            "ia3: a factor per channel; adapter: bottlenecks after or beside a layer's parts; "
            "prefix, prompt and ptuning: virtual tokens before every sequence.",
        )
    )
    start: Literal["new", "continue"] = setting(
        "new",
        "Where model.path is a run or an adapter: new merges it and begins another adapter; "
        "continue goes on training the same one, whose settings it keeps.",
        "continuing kept more quality; " + PRACTICE,
    )
    lora_rank: int = setting(16, "Rank of the adapter.", "8-32 usual; " + PRACTICE, gt=0)
    lora_alpha: float | None = setting(
        None, "Scale of the adapter (alpha / rank); none means alpha = rank.", PRACTICE, gt=0
    )
    lora_dropout: float = setting(0.0, "Dropout before the adapter.", ge=0.0, lt=1.0)
    lora_targets: list[str] | Literal["all-linear"] = setting(
        "all-linear",
        "Which linear layers get an adapter, by name; all-linear leaves out the head.",
        "arXiv:2305.14314: all linear layers are needed to match full tuning",
    )
    lora_plus_ratio: float | None = setting(
        None,
        "LoRA+: the B matrices learn at this multiple of training.learning_rate; none means 1.",
        "arXiv:2402.12354: 16 where it is used",
        ge=1,
    )
    lora_options: dict[str, Any] = setting(
        {},
        "Other fields of PEFT's LoraConfig: use_dora, use_rslora, init_lora_weights: pissa, "
        "rank_pattern, alpha_pattern ...",
    )
    quantisation: Literal["nf4", "int8"] = setting(
        "nf4",
        "With qlora: format of the frozen weights, by bitsandbytes.",
        "nf4: arXiv:2305.14314; int8: arXiv:2208.07339",
    )
    ia3_targets: list[str] | None = setting(
        None,
        "With ia3: which linear layers, by name; those of the MLP are scaled at their input, "
        "others at their output. None: keys, values and the last layer of the MLP.",
        "arXiv:2205.05638, section 3.3",
    )
    adapter_form: Literal["serial", "parallel"] = setting(
        "serial",
        "With adapter: after a part, reading its output; or beside it, reading its input.",
        "serial: arXiv:1902.00751; parallel: arXiv:2110.04366",
    )
    adapter_parts: list[Literal["attention", "mlp"]] = setting(
        ["mlp"],
        "With adapter: which parts of a layer get one.",
        "both: arXiv:1902.00751; the MLP alone: arXiv:2005.00247",
        min_length=1,
    )
    adapter_size: int = setting(
        64, "With adapter: width of the bottleneck.", "arXiv:1902.00751: 64 for most tasks", gt=0
    )
    adapter_activation: Literal["relu", "gelu", "silu"] = setting(
        "relu", "With adapter: what lies between its two matrices.", "arXiv:2110.04366"
    )
    adapter_scale: float = setting(
        1.0,
        "With adapter: factor of its output.",
        "arXiv:2110.04366: 4 for parallel adapters",
        gt=0,
    )
    virtual_tokens: int = setting(
        20,
        "With prefix, prompt and ptuning: how many virtual tokens.",
        "arXiv:2104.08691: little is gained beyond 20",
        gt=0,
    )
    init_text: str | None = setting(
        None,
        "With prefix and prompt: text whose tokens the virtual ones start from, cut or repeated; "
        "none draws common tokens.",
        "arXiv:2101.00190, section 7.4; arXiv:2104.08691, section 3.2",
        min_length=1,
    )
    encoder: Literal["none", "mlp", "lstm"] | None = setting(
        None,
        "What makes the virtual tokens while training: none or mlp with prefix, mlp or lstm with "
        "ptuning; null is the first of them.",
        "arXiv:2101.00190, section 4.3; arXiv:2103.10385",
    )
    encoder_size: int | None = setting(
        None, "Inner width of the encoder; null is the model's.", gt=0
    )
    parts: list[Literal["layers", "embedding", "attention", "mlp", "norms", "head"]] = setting(
        [], "With full: only these parts move; empty means all of them."
    )
    layers: list[int] = setting(
        [], "Only layers with these numbers move or get an adapter; negative from the end."
    )

    _USED_BY: ClassVar[dict[str, tuple[str, ...]]] = {
        "start": ("lora", "qlora", "ia3", "adapter", "prefix", "prompt", "ptuning"),
        "lora_": ("lora", "qlora"),
        "quantisation": ("qlora",),
        "ia3_": ("ia3",),
        "adapter_": ("adapter",),
        "virtual_tokens": ("prefix", "prompt", "ptuning"),
        "init_text": ("prefix", "prompt"),
        "encoder": ("prefix", "ptuning"),
        "parts": ("full",),
        "layers": ("full", "lora", "qlora", "ia3", "adapter"),
    }
    """Beginnings of the settings' names, and the methods that read them."""

    @field_validator("lora_targets", "ia3_targets", mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all-linear" else value

    @field_validator("adapter_parts", mode="before")
    @classmethod
    def _one_part(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _method_has_its_own_settings(self) -> Self:
        """Refuse a setting that does nothing; an empty one, as in ``layers: []``, says nothing."""
        for name in sorted(self.model_fields_set):
            if not self.reads(name) and getattr(self, name) not in (None, [], {}):
                raise ValueError(
                    f"{name} does nothing with method {self.method}: remove one of them "
                    f"({name} goes with {', '.join(self._readers(name))})"
                )
        return self

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        allowed = {"prefix": ("none", "mlp"), "ptuning": ("mlp", "lstm")}.get(self.method, ())
        if self.encoder is not None and self.encoder not in allowed:
            raise ValueError(
                f"encoder {self.encoder} does not go with method {self.method}: "
                f"use {' or '.join(allowed)}"
            )
        has_encoder = self.method == "ptuning" or self.encoder == "mlp"
        if self.encoder_size is not None and not has_encoder:
            raise ValueError("encoder_size does nothing without an encoder: set encoder: mlp")
        if self.init_text is not None and has_encoder:
            raise ValueError(
                "init_text and encoder exclude each other: an encoder cannot be made to give "
                "chosen numbers"
            )
        return self

    def reads(self, name: str) -> bool:
        """Whether the method reads a setting.

        Example:
            >>> TuningSection(method="full").reads("lora_rank")
            False
        """
        methods = self._readers(name)
        return not methods or self.method in methods

    @classmethod
    def _readers(cls, name: str) -> tuple[str, ...]:
        """Return the methods that read a setting; none where all do."""
        return next((m for begin, m in cls._USED_BY.items() if name.startswith(begin)), ())
