"""What stands on the report page, as plain values: tiles, samples, counts, settings, commands."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danlu.runs.directory import RunDirectory
from danlu.runs.figures import Figures
from danlu.runs.schema import Dropped, Rejected, Resolved, Sample, Summary
from danlu.runs.scores import Histogram, Scores
from danlu.runs.wording import (
    duration,
    in_order,
    loss,
    metric,
    metric_value,
    number,
    signed,
    size,
)

REASONS = 20
"""Reasons of one kind on the page; the files have all."""
_SOURCE = "data.train[]."
"""Under this path the settings of one data source are described."""
SCORE_PANELS = 12
"""Task types whose scores are drawn, those with the most records; ``scores.jsonl`` has all."""
DIFF_TOKENS = 400
DIFF_LIKENESS = 0.5
"""Answers less alike than this are not compared word by word: nothing would be learned."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure at the top of the page."""

    label: str
    value: str
    note: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric with its charts: ``metric-<index>`` in all, ``metric-<index>-types`` by type."""

    id: str
    title: str
    unit: str
    text: str
    by_type: bool


@dataclass(frozen=True, slots=True)
class ScoreView:
    """One histogram of scores: the chart ``scores-<index>``, and what it comes to."""

    id: str
    name: str
    counts: str
    on_top: str


@dataclass(frozen=True, slots=True)
class SampleView:
    """A sample with its answers cut into pieces, each marked as differing or not."""

    sample: Sample
    before: list[tuple[str, bool]]
    after: list[tuple[str, bool]]
    changed: bool | None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often one reason kept something out of training, or cut it."""

    reason: str
    count: str
    outcome: str
    spread: str
    example: str


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting: its path, value, default and meaning."""

    path: str
    value: str
    default: str
    meaning: str
    changed: bool


# Parts of the page -----------------------------------------------------------------------


def subtitle(run: RunDirectory) -> str:
    """Name model and method, as far as they are known."""
    resolved, summary = run.resolved(), run.summary()
    if summary is not None:
        return f"{summary.model}  ·  {summary.method}"
    if resolved is None:
        return "model not loaded yet"
    model = resolved.recipe.get("model", {}).get("path", "unknown model")
    method = resolved.recipe.get("tuning", {}).get("method", "unknown method")
    return f"{model}  ·  {method}"


def banner(run: RunDirectory, found: Figures, resolved: Resolved | None) -> tuple[str, str] | None:
    """Say what a reader must know of a run that is not finished: headline and remedy."""
    state = run.state()
    if state == "finished":
        return None
    total = resolved.total_steps if resolved else None
    step = f"step {found.step:,}" + (f" of {total:,}" if total else "")
    at = f"at {step}" if found.train else "before its first step was logged"
    message = run.status().message
    if state == "running":
        step = step if found.train else "no step was logged yet"
        return (f"This run is not finished. When this page was written: {step}.", message)
    if state == "failed":
        return (f"This run failed {at}.", message)
    return (f"This run was interrupted {at}; it can be resumed.", message)


def tiles(found: Figures, resolved: Resolved | None, summary: Summary | None) -> list[Tile]:
    """Return the figures at the top; those not known yet are left out."""
    objective = resolved.objective if resolved else "nll"
    return [
        *_loss_tiles(found),
        *_metric_tiles(found, objective),
        *_size_tiles(found, resolved, summary),
    ]


def _loss_tiles(found: Figures) -> list[Tile]:
    result = []
    for span, name in ((found.train, "Train loss"), (found.eval, "Eval loss")):
        if span is None:
            continue
        change = signed(span.change)
        if span.first > 0:
            change += f" ({span.change / span.first:+.0%})"
        note = change.replace("(-", "(−") if span.rows > 1 else ""
        if name == "Eval loss" and found.best_eval_step is not None:
            best = f"best {loss(found.best_eval_loss)} at step {found.best_eval_step:,}"
            note = f"{best}" if not note else f"{note}, {best}"
        before = loss(span.first) if span.rows > 1 else ""
        result.append(Tile(name, loss(span.last), note, before))
    return result


def _size_tiles(found: Figures, resolved: Resolved | None, summary: Summary | None) -> list[Tile]:
    """Say how much was trained, for how long, at what cost."""
    result = []
    records = summary.records if summary else sum(resolved.records.values()) if resolved else None
    if records:
        note = f"{found.epoch:.3g} epochs, {len(found.task_types)} task types"
        result.append(Tile("Records", f"{records:,}", note))
    if found.train is None:
        return result
    trained = f"{number(found.unique_tokens)} computed"
    result.append(Tile("Tokens trained", number(found.supervised_tokens), trained))
    seconds = summary.train_seconds if summary else found.elapsed_s
    steps = f"{found.step:,} steps"
    if resolved and resolved.total_steps and resolved.total_steps != found.step:
        steps = f"{found.step:,} of {resolved.total_steps:,} steps"
    result.append(Tile("Training time", duration(seconds), steps))
    if found.tokens_per_second is not None:
        device = (resolved.device if resolved else None) or ""
        result.append(Tile("Tokens per second", number(found.tokens_per_second), device))
    if summary and summary.peak_bytes is not None:
        result.append(Tile("Peak memory", size(summary.peak_bytes), _parameters(summary)))
    return result


def _metric_tiles(found: Figures, objective: str) -> list[Tile]:
    """Say what the objective's metrics come to: on evaluation records, if there are any."""
    result = []
    for name in in_order(found.metric_names):
        train, evaluated = (found.metrics[split].get(name) for split in ("train", "eval"))
        span = evaluated or train
        if span is None:
            continue
        note = ""
        if evaluated and train:
            note = f"train {metric_value(train.first)} → {metric_value(train.last)}"
        before = metric_value(span.first) if span.rows > 1 else ""
        label = f"{metric(name, objective).title}, {'eval' if evaluated else 'train'}"
        result.append(Tile(label, metric_value(span.last), note, before))
    return result


def metric_views(found: Figures, objective: str) -> list[MetricView]:
    """Return the headings of the metrics' charts, in the order of the script's data."""
    views = []
    for index, name in enumerate(in_order(found.metric_names)):
        words = metric(name, objective)
        text = f"{words.meaning} {words.watch}".strip()
        told = [name in spans for one in found.task_types for spans in one.metrics.values()]
        by_type = len(found.task_types) > 1 and any(told)
        views.append(MetricView(f"metric-{index}", words.title, words.unit, text, by_type))
    return views


def score_views(scores: Scores | None) -> list[ScoreView]:
    """Return the headings of the histograms, in all first; the largest task types, by name."""
    if scores is None:
        return []
    types = list(enumerate(scores.task_types, start=1))
    if len(types) == 1:
        types = []
    largest = sorted(types, key=lambda item: -item[1].records)[:SCORE_PANELS]
    shown = [(0, scores.overall), *sorted(largest, key=lambda item: item[0])]
    return [_score_view(index, histogram) for index, histogram in shown]


def before_after(more: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    """Find checks counted before and after training among a summary's further keys.

    Example:
        >>> before_after({"quickstart": {"a_before": 0, "a_after": 9, "a_total": 10, "s": 1.5}})
        [('a', 0, 9, 10)]
    """
    checks = []
    for value in more.values():
        if not isinstance(value, dict):
            continue
        for key in value:
            name = key.removesuffix("_total")
            figures = [value.get(f"{name}_{part}") for part in ("before", "after", "total")]
            if name != key and all(isinstance(figure, int) for figure in figures):
                checks.append((name.replace("_", " "), *figures))
    return checks


def drop_counts(dropped: Sequence[Dropped], rejected: Sequence[Rejected]) -> list[ReasonCount]:
    """Count what did not reach training by reason, the most frequent first."""
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for drop in dropped:
        kind = "record" if drop.branch is None else "branch"
        outcome = "trained, cut to length" if drop.kept else "left out"
        example = f"{drop.record_id}: {drop.detail}" if drop.detail else drop.record_id
        groups[drop.reason, kind, outcome].append((drop.task_type, example))
    for line in rejected:
        example = line.text if line.line is None else f"line {line.line}: {line.text}"
        # Two lines broken at columns 2 and 7 are broken for one reason.
        reason = re.sub(r"\d+", "…", line.reason)
        groups[reason, "line", "left out"].append((line.file, example))
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    counts = []
    for (reason, kind, outcome), found in ordered[:REASONS]:
        places = Counter(place for place, _ in found)
        spread = ", ".join(f"{place} {count:,}" for place, count in places.most_common(6))
        spread += f" and {len(places) - 6} more" if len(places) > 6 else ""
        count = _count(len(found), kind)
        counts.append(ReasonCount(reason, count, outcome, spread, found[0][1][:160]))
    if rest := ordered[REASONS:]:
        count = _count(sum(len(found) for _, found in rest), "time")
        counts.append(ReasonCount(f"{len(rest)} further reasons", count, "", "", ""))
    return counts


def sample_views(samples: Sequence[Sample]) -> list[SampleView]:
    """Mark what differs between the answers before and after."""
    views = []
    for sample in samples:
        before, after = sample.before, sample.after
        changed = None if before is None or after is None else before != after
        pieces = _differing(before or "", after or "") if changed else None
        left, right = pieces or ([(before or "", False)], [(after or "", False)])
        views.append(SampleView(sample, left, right, changed))
    return views


def setting_views(recipe: dict[str, Any]) -> list[SettingView]:
    """Compare every setting with its default, those that differ first.

    The recipe may be of another version of Danlu: a setting unknown here is shown without a
    default, and counts as changed.
    """
    from danlu.config.describe import describe

    known = {setting.path: setting for setting in describe()}
    sources = {path: found.default for path, found in known.items() if path.startswith(_SOURCE)}
    views = []
    for path, value in _flat(recipe, set(known)):
        found = known.get(path)
        usual = found is not None and not found.required and value == found.default
        shown = _show(found.default, sources) if found and not found.required else ""
        meaning = found.meaning if found else ""
        views.append(SettingView(path, _show(value, sources), shown, meaning, not usual))
    return sorted(views, key=lambda view: not view.changed)


def commands(run: RunDirectory) -> list[tuple[str, str]]:
    """Return what to type next, with what it does."""
    path = shlex.quote(str(run.path))
    recipe = shlex.quote(str(run.recipe_path))
    report = (f"danlu report {path}", "write this page and loss.png again")
    resolved = run.resolved()
    if run.state() == "finished" and resolved is not None and resolved.objective == "classify":
        return [
            (f"danlu classify {path} --text TEXT", "say which class a text belongs to"),
            (f"danlu classify {path} --file FILE --json", "the same of all texts of a file"),
            report,
        ]
    if run.state() == "finished":
        prompts = [sample.prompt for sample in run.samples() if len(sample.prompt) <= 60]
        prompt = shlex.quote(next((text for text in prompts if "\n" not in text), "Hello!"))
        return [
            (f"danlu chat {path}", "talk to the tuned model"),
            (f"danlu chat {path} --prompt {prompt} --greedy", "one answer, always the same"),
            report,
        ]
    if run.state() == "running":
        return [report]
    return [
        (f"danlu train {recipe} --resume", "go on from the last checkpoint"),
        (f"danlu train {recipe} --overwrite", "begin anew"),
        report,
    ]


# Inner -----------------------------------------------------------------------------------


def _score_view(index: int, histogram: Histogram) -> ScoreView:
    counts = (
        f"{sum(histogram.best):,} best, mean {metric_value(histogram.best_mean)}; "
        f"{sum(histogram.others):,} others, mean {metric_value(histogram.others_mean)}"
    )
    on_top = ""
    if histogram.records:
        share = histogram.on_top / histogram.records
        records = f"{histogram.on_top:,} of {histogram.records:,} records"
        on_top = f"A best answer is on top in {records} ({share:.0%})."
    return ScoreView(f"scores-{index}", histogram.name, counts, on_top)


def _parameters(summary: Summary) -> str:
    if summary.trainable_parameters is None:
        return ""
    share = ""
    if summary.total_parameters:
        share = f" of {number(summary.total_parameters)}"
    return f"{number(summary.trainable_parameters)}{share} parameters trained"


def _count(count: int, thing: str) -> str:
    plural = "es" if thing.endswith("ch") else "s"
    return f"{count:,} {thing}{'' if count == 1 else plural}"


def _differing(
    before: str, after: str
) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]] | None:
    """Compare word by word, Chinese by the character; None if the answers are too unlike."""
    words = re.compile(r"[぀-鿿]|(?:(?![぀-鿿])\w)+|\s+|[^\w\s]")
    left, right = words.findall(before), words.findall(after)
    if max(len(left), len(right)) > DIFF_TOKENS:
        return None
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < DIFF_LIKENESS:
        return None
    pieces_left, pieces_right = [], []
    for tag, begin, end, begin_right, end_right in matcher.get_opcodes():
        pieces_left.append(("".join(left[begin:end]), tag != "equal"))
        pieces_right.append(("".join(right[begin_right:end_right]), tag != "equal"))
    return pieces_left, pieces_right


def _flat(tree: dict[str, Any], known: set[str], prefix: str = "") -> list[tuple[str, Any]]:
    """List the leaves of a tree of settings; a setting whose value is a mapping is one leaf."""
    leaves = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path not in known:
            leaves += _flat(value, known, f"{path}.")
        else:
            leaves.append((path, value))
    return leaves


def _show(value: Any, sources: dict[str, Any]) -> str:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return "\n".join(_show_source(item, sources) for item in value)
    if value is None:
        return "none"
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False)


def _show_source(source: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Write a data source as its path and what is not left to its default."""
    rest = {
        name: value
        for name, value in source.items()
        if name != "path" and value != defaults.get(_SOURCE + name, ...)
    }
    path = str(source.get("path", ""))
    return f"{path}  {json.dumps(rest, ensure_ascii=False)}" if rest else path
