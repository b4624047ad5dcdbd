"""Settings of rotary position embeddings."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from danlu.config.section import Section, setting


class RopeSection(Section):
    """Rotary positions: what is changed so that a model takes longer sequences."""

    type: Literal["linear", "ntk", "dynamic", "yarn"] | None = setting(
        None,
        "linear divides all positions by factor; ntk turns slow dimensions slower by another base; "
        "dynamic is ntk as far as a sequence needs it, and none below the model's own length; yarn "
        "divides slow dimensions only; none leaves the model's own.",
        "linear: arXiv:2306.15595; ntk, dynamic, yarn: arXiv:2309.00071",
    )
    factor: float | None = setting(
        None,
        "How many times longer sequences may be; with base and no type, what that base is good "
        "for.",
        gt=1,
    )
    base: float | None = setting(
        None,
        "Another base of the frequencies (rope_theta); larger ones turn slower.",
        "arXiv:2309.16039: 500000 for 32,768 tokens, in place of 10000",
        gt=1,
    )
    beta_fast: float | None = setting(
        None,
        "yarn: dimensions that turn more often than this within the model's length stay; 32.",
        "arXiv:2309.00071",
        gt=0,
    )
    beta_slow: float | None = setting(
        None,
        "yarn: those that turn less often are divided as with linear; 1.",
        "arXiv:2309.00071",
        gt=0,
    )
    attention_factor: float | None = setting(
        None,
        "yarn: factor of queries and keys; none: 0.1 ln(factor) + 1.",
        "arXiv:2309.00071",
        gt=0,
    )

    def given(self) -> dict[str, Any]:
        """Return what is set; empty where positions stay as they are.

        Example:
            >>> RopeSection(type="linear", factor=2).given()
            {'type': 'linear', 'factor': 2.0}
        """
        return self.model_dump(exclude_none=True)

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        for name in ("beta_fast", "beta_slow", "attention_factor"):
            if getattr(self, name) is not None and self.type != "yarn":
                raise ValueError(f"{name} does nothing without type yarn: remove it")
        if self.type is not None and self.factor is None:
            raise ValueError(f"type {self.type} needs factor: how many times longer, such as 2")
        if self.type is None and self.base is None and self.factor is not None:
            raise ValueError("factor alone changes nothing: name a type (yarn is usual), or a base")
        if self.type == "ntk" and self.base is not None:
            raise ValueError("type ntk works out the base by itself: remove base, or type")
        if (self.beta_fast or 32.0) <= (self.beta_slow or 1.0):
            raise ValueError("beta_fast must be greater than beta_slow (32 and 1 are usual)")
        return self
