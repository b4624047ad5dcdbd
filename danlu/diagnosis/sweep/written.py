"""What a sweep or a scaling leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from danlu.config.load import save_recipe
from danlu.config.recipe import Recipe
from danlu.diagnosis.sweep.page import scaling_page, sweep_page
from danlu.diagnosis.sweep.scaling import (
    Line,
    lines_of,
    measured,
    scaling_trials,
    write_parts,
)
from danlu.diagnosis.sweep.trials import Ran, Told, run_trials


def write_sweep(folder: Path, ran: Ran) -> dict[str, Any]:
    """Write ``sweep.json``, ``sweep.html`` and ``best.yaml``; return what the first one says.

    Raises:
        ValueError: If no trial has ended.
    """
    best = ran.best
    if best is None:
        raise ValueError("no trial has ended")
    rows = [
        {
            "settings": one.trial.label,
            "run": str(one.trial.run),
            "loss": one.loss,
            "step": one.step,
            "task_types": one.task_types,
            "curve": [list(point) for point in one.curve],
            "seconds": one.seconds,
        }
        for one in ran.scores
    ]
    found = {
        "best": best.trial.label,
        "trials": rows,
        "left": [one.recipe.name for one in ran.left],
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "sweep.json", json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    _write(folder / "sweep.html", sweep_page(f"Sweep {folder.name}", ran.scores))
    save_recipe(best.trial.recipe, folder / "best.yaml")
    return found


def scale(
    recipe: Recipe,
    shares: Sequence[float],
    folder: Path,
    seeds: int = 1,
    device: str = "auto",
    *,
    told: Told = lambda text: None,
    progress: bool = True,
) -> list[Line]:
    """Train on parts of the data, fit, and write ``scaling.json`` and ``scaling.html``.

    Args:
        recipe: What is trained.
        shares: Rising, as ``shares_of`` reads them.
        folder: For parts, runs and the result; the same again goes on where it was.
        seeds: Runs of each part.
        device: Where losses are measured.
        told: Hears what is being done.
        progress: Show the bar of each training.

    Raises:
        DanluError: If the data are too few, or a training fails.
    """
    parts = write_parts(recipe, shares, folder / "data", seed=recipe.training.seed)
    trials = scaling_trials(recipe, parts, folder, seeds)
    run_trials(trials, told=told, progress=progress)
    lines = lines_of(parts, *measured(trials, parts, device))
    rows = scaling_rows(lines)
    _write(folder / "scaling.json", json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    _write(folder / "scaling.html", scaling_page(f"Scaling {folder.name}", lines, says_of(lines)))
    return lines


def scaling_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return what was found as JSON has it."""
    return [asdict(one) for one in lines]


def says_of(lines: Sequence[Line]) -> str:
    """Answer in a sentence or two.

    Raises:
        ValueError: If there is no line.
    """
    whole = lines[0].forecast
    span = f"{whole.low:+.3f} to {whole.high:+.3f} nats per token"
    plain = {
        "helps": f"More of this data would still help: twice as much gains {span}",
        "does not help": f"More of this data would hardly help: twice as much gains {span}",
        "unclear": f"Whether more of this data would help is unclear: twice as much gains {span}",
    }
    found = [plain[whole.answer] + " (90 %)."]
    for answer, word in (("helps", "Most worth it"), ("does not help", "Not worth it")):
        names = [one.name for one in lines[1:] if one.forecast.answer == answer]
        if names:
            found.append(f"{word}: {', '.join(names)}.")
    return " ".join(found)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
