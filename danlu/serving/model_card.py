"""The model card: ``README.md`` of an export, filled from the run it came of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from danlu.models.source import BUILTIN_PREFIX, BUILTINS, adapter_base
from danlu.runs.directory import RunDirectory
from danlu.runs.figures import Span, figures
from danlu.runs.history import History

SETTINGS = (
    "epochs",
    "max_steps",
    "batch_records",
    "learning_rate",
    "schedule",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "seed",
)


@dataclass(frozen=True)
class EvaluationTable:
    """One evaluation of the model, as the card shows it.

    Attributes:
        title: Its name and its suite's.
        score: Over all; None if one is missing.
        rows: Task type, items scored (of how many), score, and the ends of its 95 % interval.
    """

    title: str
    score: float | None
    rows: tuple[tuple[str, str, float | None, float | None, float | None], ...]


@dataclass(frozen=True)
class FormatRow:
    """What one file, or all weights of a folder, cost against the model itself.

    Attributes:
        name: Of the file or format.
        size_bytes: Of its weights.
        tokens: At how many places the next token was compared.
        same: At how many of them the likeliest one is the same.
        mean_difference: Of log-probabilities, absolute, in nats.
        max_difference: The same, the largest.
        perplexity: Of it; None if not measured.
        score: On the suite; None if not asked.
        notes: What else a user should know.
    """

    name: str
    size_bytes: int
    tokens: int
    same: int
    mean_difference: float
    max_difference: float
    perplexity: float | None = None
    score: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnFigures:
    """Figures of a model, to be held beside those of what was made of it.

    Attributes:
        perplexity: On plain text; None if not measured.
        suite: Which suite was asked; empty for none.
        score: On it; None if not asked.
    """

    perplexity: float | None
    suite: str = ""
    score: float | None = None


def model_card(
    name: str,
    part: Path | None,
    *,
    base: str | None = None,
    kind: str = "model",
    files: Sequence[FormatRow] = (),
    own: OwnFigures | None = None,
    evaluations: Sequence[EvaluationTable] = (),
) -> str:
    """Write a model card.

    What the run does not say is left out; only the licence, which somebody has to know, is asked
    for where it is unknown.

    Args:
        name: Of the model.
        part: The run's ``model/`` or ``adapter/``; None for a model without a run.
        base: What an adapter belongs to, if the run does not say it.
        kind: ``model``, ``adapter`` or ``gguf``.
        files: What was written, for the table of formats.
        own: Figures of the model itself, beside theirs.
        evaluations: Of this model.

    Returns:
        Markdown, with YAML front matter.
    """
    run = RunDirectory(part.parent) if part is not None else None
    run = run if run is not None and run.is_run() else None
    resolved = run.resolved() if run else None
    if base is None and part is not None and (part / "adapter_config.json").is_file():
        base = adapter_base(part)
    if resolved is not None:
        base = resolved.recipe.get("model", {}).get("path", base)
    licence = _licence(base)
    head: dict[str, Any] = {"license": licence or "other"}
    if base and not base.startswith((BUILTIN_PREFIX, "/")):
        head["base_model"] = base
    head["library_name"] = {"gguf": "gguf", "adapter": "peft"}.get(kind, "transformers")
    head["tags"] = ["danlu"]
    lines = ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(), "---"]
    lines += ["", f"# {name}", ""]
    if base:
        shown = Path(base).name if base.startswith("/") else base
        lines += [f"Base model: {shown}.", ""]
    if licence is None:
        lines += ["**TODO: the licence.** That of the base model and of the data decide it.", ""]
    if run is not None and resolved is not None:
        lines += _data(resolved) + _training(run, resolved)
    lines += _evaluations(evaluations)
    lines += _formats(files, own or OwnFigures(None))
    lines += _how_to_run(kind, files, base)
    return "\n".join(lines).rstrip() + "\n"


def _licence(base: str | None) -> str | None:
    known = {BUILTIN_PREFIX + one.name: one.license.lower() for one in BUILTINS}
    return known.get(base or "")


def _data(resolved: Any) -> list[str]:
    lines = ["## Data", ""]
    for dataset in resolved.datasets:
        label = " ".join(str(dataset[key]) for key in ("name", "version") if dataset.get(key))
        lines.append(f"- dataset {label or 'without a name'}")
    if not resolved.datasets:
        for one in resolved.recipe.get("data", {}).get("train", []):
            lines.append(f"- {Path(str(one.get('path'))).name}")
    if resolved.data_fingerprint:
        lines.append(f"- fingerprint of data and settings: `{resolved.data_fingerprint}`")
    rows = [
        (name, count, resolved.eval_records.get(name, 0))
        for name, count in resolved.records.items()
    ]
    return [*lines, "", *_table(("task type", "training records", "held out"), rows)]


def _training(run: RunDirectory, resolved: Any) -> list[str]:
    recipe = resolved.recipe
    tuning, training = recipe.get("tuning", {}), recipe.get("training", {})
    rows: list[tuple[Any, ...]] = [("objective", recipe.get("objective", {}).get("name", "nll"))]
    rows.append(("method", tuning.get("method")))
    if tuning.get("method") in ("lora", "qlora"):
        rows += [(key, tuning.get(key)) for key in ("lora_rank", "lora_alpha", "lora_targets")]
    rows += [(key, training.get(key)) for key in SETTINGS]
    rows.append(("max_length", recipe.get("sequences", {}).get("max_length")))
    rows.append(("danlu", resolved.environment.versions.get("danlu")))
    rows = [row for row in rows if row[1] is not None]
    found = figures(History.of(run.metrics()), resolved.objective)
    losses: list[tuple[Any, ...]] = [
        (one.name, *_ends(one.train), *_ends(one.eval)) for one in found.task_types
    ]
    losses.append(("all", *_ends(found.train), *_ends(found.eval)))
    columns = ("task type", "train, first", "train, last", "held out, first", "held out, last")
    return [
        *("## Training", ""),
        *_table(("setting", "value"), rows),
        *("### Loss", ""),
        *_table(columns, losses),
    ]


def _evaluations(tables: Sequence[EvaluationTable]) -> list[str]:
    lines = []
    for one in tables:
        rows: list[tuple[Any, ...]] = [
            (name, count, *map(_number, rest)) for name, count, *rest in one.rows
        ]
        rows.append(("all", "", _number(one.score), "", ""))
        lines += [f"### {one.title}", ""]
        lines += _table(("task type", "scored", "score", "95 % from", "to"), rows)
    return ["## Evaluation", "", *lines] if lines else []


def _formats(files: Sequence[FormatRow], own: OwnFigures) -> list[str]:
    if not files:
        return []
    rows = []
    for one in files:
        perplexity = score = ""
        if own.perplexity is not None and one.perplexity is not None:
            perplexity = f"{one.perplexity:.3f} ({one.perplexity / own.perplexity - 1:+.2%})"
        if own.score is not None and one.score is not None:
            score = f"{one.score:.3f} ({one.score - own.score:+.3f})"
        difference = f"{one.mean_difference:.4f}; {one.max_difference:.3f}"
        size = f"{one.size_bytes / 1e6:.1f}"
        same = f"{one.same} of {one.tokens}"
        rows.append((one.name, size, same, difference, perplexity, score))
    columns = [
        "file",
        "MB",
        "greedy tokens as the model's",
        "difference of log-probabilities, nats: mean; largest",
        "perplexity",
        f"score on {own.suite}",
    ]
    width = len(columns) if own.score is not None else len(columns) - 1
    lines = ["## Formats", "", *_table(columns[:width], [row[:width] for row in rows])]
    if any(one.perplexity is not None for one in files) and own.perplexity is not None:
        lines += [
            f"Perplexity of the model itself: {own.perplexity:.3f}, on the same plain text. That "
            "of what was written is of its weights, read back and computed with in float32.",
            "",
        ]
    if own.score is not None:
        lines += [
            f"Score of the model itself on {own.suite}: {own.score:.3f}, greedily; an answer that "
            "cannot be read counts as wrong.",
            "",
        ]
    notes = dict.fromkeys(note for one in files for note in one.notes)
    return [*lines, *(f"- {note}" for note in notes), *([""] if notes else [])]


def _how_to_run(kind: str, files: Sequence[FormatRow], base: str | None) -> list[str]:
    if kind == "gguf":
        commands = [f"llama-cli -m {files[0].name}", "ollama create NAME -f Modelfile"]
    else:
        commands = ["danlu chat THIS_FOLDER", "danlu serve THIS_FOLDER"]
    return ["## How to run", "", "```", *commands, "```", ""]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [[str(cell).replace("|", r"\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def _ends(span: Span | None) -> tuple[str, str]:
    return ("", "") if span is None else (f"{span.first:.3f}", f"{span.last:.3f}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
