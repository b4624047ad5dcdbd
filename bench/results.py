"""Results: one JSON object per benchmark, and what is judged by a goal."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

PACKAGES = (
    *("danlu", "torch", "triton", "transformers", "peft", "accelerate", "tokenizers", "trl"),
    *("datasets", "numpy", "rapidfuzz", "rouge-score", "datasketch"),
)
FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Goal:
    """A figure and what it should be.

    Attributes:
        name: What is judged.
        value: What was measured.
        limit: What it is held against.
        sense: Whether the value should be at least or at most that.
    """

    name: str
    value: float
    limit: float
    sense: Literal["at least", "at most"] = "at least"

    @property
    def met(self) -> bool:
        """Whether it is.

        Example:
            >>> Goal("loss", 1e-5, 1e-3, "at most").met
            True
        """
        return self.value >= self.limit if self.sense == "at least" else self.value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Result:
    """One benchmark's result.

    Attributes:
        name: Of the benchmark.
        unit: Of ``danlu`` and ``peer``.
        danlu: Danlu's speed; the best of all rounds, step by step. None where it could not run:
            ``details`` says why.
        peer: TRL's, or the bare tokenizer's, likewise; None where no other does the same.
        ratio: Danlu's speed over the peer's; None without one.
        limit_fraction: Necessary work per second over the fastest matrix product known on this
            machine; None where no matrix is multiplied.
        torch_limit_fraction: The same over PyTorch's own product.
        peak_bytes: The most memory that Danlu's process held; None if not measured.
        peer_peak_bytes: Likewise.
        goals: What is judged.
        details: Settings and further figures.
        versions: Of the packages involved.
        machine: What it ran on.
        date: UTC, to the second.
    """

    name: str
    unit: str
    danlu: float | None
    peer: float | None = None
    ratio: float | None = None
    limit_fraction: float | None = None
    torch_limit_fraction: float | None = None
    peak_bytes: int | None = None
    peer_peak_bytes: int | None = None
    goals: tuple[Goal, ...]
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())
    machine: dict[str, Any] = field(default_factory=lambda: this_machine())
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able data; each goal says whether it is met."""
        goals = [{**asdict(goal), "met": goal.met} for goal in self.goals]
        return {**asdict(self), "goals": goals}

    def write(self, folder: Path = FOLDER) -> Path:
        """Write ``<name>.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", "utf-8")
        return path


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages involved."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def this_machine() -> dict[str, Any]:
    """Describe the machine: what can be found out about its processors without asking others."""
    import torch

    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    """Return the processor's name as the kernel tells it, where it does."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
