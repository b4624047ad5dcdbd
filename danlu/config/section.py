"""What every group of settings is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PRACTICE = "practitioners' reports, 2023-2024"


def setting(default: Any, meaning: str, source: str = "", **limits: Any) -> Any:
    """Declare a recipe setting with its meaning, its limits, and where its default comes from."""
    extra: dict[str, Any] | None = {"source": source} if source else None
    if isinstance(default, (list, dict)):
        return Field(
            default_factory=default.copy, description=meaning, json_schema_extra=extra, **limits
        )
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """A group of settings; frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
