"""With what a run was made: versions, commit, platform. Imports none of what it names."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from danlu.runs.schema import Environment

PACKAGES = ("danlu", "torch", "transformers", "peft", "accelerate", "tokenizers")
GIT_LIMIT_S = 5.0


def collect_environment(folder: Path | None = None) -> Environment:
    """Describe the environment, in some ten milliseconds.

    Args:
        folder: Where to ask for a git commit; the working directory by default.

    Example:
        >>> sorted(collect_environment().versions)[:3]
        ['accelerate', 'danlu', 'peft']
    """
    folder = folder or Path.cwd()
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    return Environment(
        versions={
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        commit=commit,
        uncommitted_changes=None if changes is None else changes != "",
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu_count=_cpu_count(),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_count() -> int:
    """Count the processors this process may use, which in a container are fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(folder: Path, *arguments: str) -> str | None:
    """Return git's answer; None without git, outside a repository, or if git takes too long."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_LIMIT_S,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
