"""A suite from held-out records: each asks what comes before its last answer.

The scorer of a task type is proposed from its answers, with the reason, and written where a person
can change it: which score is right is a matter of the task, not of the data.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.config.strict_yaml import write_yaml
from danlu.errors import EvaluationError
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.scorers.json_reading import NoJsonError, read_json
from danlu.evaluation.scorers.normalise import normalise
from danlu.evaluation.scorers.numbers import numbers_in
from danlu.evaluation.suites.expectations import constraints_of
from danlu.evaluation.suites.reading import FILE
from danlu.evaluation.suites.stakes import read_stakes
from danlu.evaluation.suites.suite import Suite
from danlu.records import Record
from danlu.runs import files
from danlu.workshop.operations.split import CONVERSATION_KEYS
from danlu.workshop.taxonomy import Taxonomy

ITEMS = "items.jsonl"
MOST_LABELS, LABEL_CHARACTERS, ITEMS_PER_LABEL = 20, 40, 3
"""Answers are labels if there are so few, so short, and each occurs so often on average."""
SHORT_CHARACTERS = 60
"""Up to here an answer on one line is expected word for word."""
SHORT_TOKENS = 64
"""Longest answer that is asked for where labels or short answers are expected."""
STOP_TEXT = re.compile(r"(?:\s*(?:<\|(?:endoftext|im_end|eot_id|end_of_text|end)\|>|</s>))+\s*$")
"""Stop tokens as text, which some data end their answers with; no model says them."""
PERPLEXITY_RANGE = [-20.0, 0.0]
"""Nats per token; a vocabulary of 250,000 guessed evenly is at -12.4."""


@dataclass(frozen=True)
class Made:
    """A suite that was made.

    Attributes:
        suite: The suite.
        why: Of each task type, why it is scored as it is.
        left_out: How many records are not in it, by reason.
        cut: How many answers ended with the text of a stop token, which was taken off.
    """

    suite: Suite
    why: Mapping[str, str]
    left_out: Mapping[str, int]
    cut: int = 0


def make_suite(
    records: Iterable[Record],
    *,
    name: str,
    taxonomy: Taxonomy | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Made:
    """Make a suite of records.

    Args:
        records: Held out from training.
        name: Of the suite.
        taxonomy: Of the dataset, for closed labels.
        limit: At most so many items of each task type, drawn at random.
        seed: Of the draw.

    Raises:
        EvaluationError: If no record can be asked.
    """
    by_type: dict[str, list[tuple[Record, Item]]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    cut = 0
    for record in records:
        item = _item(record)
        cut += record.messages[-1].role == "assistant" and bool(
            STOP_TEXT.search(record.messages[-1].content or "")
        )
        if isinstance(item, str):
            left_out[item] += 1
        elif item.id in seen:
            left_out["its id was there before"] += 1
        else:
            seen.add(item.id)
            by_type[item.task_type].append((record, item))
    if not by_type:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise EvaluationError(f"no record can be asked: {told or 'there is none'}.", where=name)
    items: list[Item] = []
    types: dict[str, TypeStakes] = {}
    why: dict[str, str] = {}
    for task_type in sorted(by_type):
        found = _drawn(by_type[task_type], limit, f"{seed}/{task_type}")
        tree, why[task_type], own = _proposed(task_type, found, taxonomy)
        types[task_type] = read_stakes(tree, task_type)
        items += own
    return Made(Suite(name, types, tuple(items)), why, dict(left_out), cut)


def write_suite(suite: Suite, folder: Path | str) -> Path:
    """Write a suite as ``suite.yaml`` and ``items.jsonl``; returns the former.

    Raises:
        EvaluationError: If the folder holds one already.
    """
    place = Path(folder)
    if (place / FILE).exists() or (place.exists() and not place.is_dir()):
        raise EvaluationError("there is a suite already; give another folder.", where=str(folder))
    place.mkdir(parents=True, exist_ok=True)
    lines = []
    for item in suite.items:
        row = item.model_dump(mode="json", exclude_defaults=True)
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    files.write_atomically(place / ITEMS, "".join(lines))
    tree: dict[str, Any] = {"name": suite.name}
    if suite.description:
        tree["description"] = suite.description
    tree["items"] = ITEMS
    tree["task_types"] = {name: _tree(of) for name, of in suite.task_types.items()}
    files.write_atomically(place / FILE, write_yaml(tree))
    return place / FILE


def _tree(stakes: TypeStakes) -> dict[str, Any]:
    """Return what ``read_stakes`` reads."""

    def named(scorer: str) -> Any:
        own = stakes.settings.get(scorer)
        return {scorer: own} if own else scorer

    tree: dict[str, Any] = {"scorer": named(stakes.scorer)}
    if stakes.also:
        tree["also"] = [named(one) for one in stakes.also]
    for key in ("weight", "critical", "margin", "max_new_tokens"):
        value = getattr(stakes, key)
        if value != TypeStakes.model_fields[key].default:
            tree[key] = value
    if (stakes.low, stakes.high) != (0.0, 1.0):
        tree["range"] = [stakes.low, stakes.high]
    return tree


def _item(record: Record) -> Item | str:
    """Turn a record into an item; a reason if it cannot be."""
    shared: dict[str, Any] = {
        "id": record.id,
        "task_type": record.task_type,
        "cluster": _cluster(record),
    }
    shared |= {"tags": record.tags, "source": record.source or None}
    if record.is_text:
        text = record.messages[0].content or ""
        if not text.strip():
            return "empty text"
        return Item(messages=({"role": "text", "content": text},), **shared)
    if record.tools:
        return "declares tools, which a suite cannot hand over yet"
    messages = list(record.messages)
    answer = messages.pop() if messages and messages[-1].role == "assistant" else None
    if not any(message.role == "user" for message in messages):
        return "asks nothing"
    text = STOP_TEXT.sub("", answer.content or "").strip() if answer else ""
    expected = record.meta.get("expectations")
    if not text and not expected:
        return "has no answer to compare with"
    context = {"expectations": list(expected)} if expected else {}
    rows = tuple(message.as_dict() for message in messages)
    return Item(messages=rows, reference=text or None, context=context, **shared)


def _cluster(record: Record) -> str | None:
    """Return what a record shares with others: its document, what it was made from, its talk."""
    made = record.meta.get("made")
    made = made if isinstance(made, Mapping) else {}
    for found in (record.meta.get("cluster"), made.get("document"), made.get("from")):
        if isinstance(found, str | int) and found != "":
            return str(found)
    for key in CONVERSATION_KEYS:
        found = record.meta.get(key)
        if isinstance(found, str | int) and found != "":
            return str(found)
    row, mark, number = record.id.rpartition("#")
    return row if mark and number.isdecimal() else None


def _drawn(
    found: Sequence[tuple[Record, Item]], limit: int | None, key: str
) -> list[tuple[Record, Item]]:
    if limit is None or len(found) <= limit:
        return list(found)
    places = sorted(random.Random(key).sample(range(len(found)), limit))
    return [found[place] for place in places]


def _proposed(
    task_type: str, found: Sequence[tuple[Record, Item]], taxonomy: Taxonomy | None
) -> tuple[dict[str, Any], str, list[Item]]:
    """Propose how a task type is scored; the items with their references for that."""
    items = [item for _, item in found]
    if all(record.is_text for record, _ in found):
        return {"scorer": "perplexity", "range": PERPLEXITY_RANGE}, "plain text", items
    checks = [constraints_of(record.meta.get("expectations") or ()) for record, _ in found]
    if all(checks):
        return (
            {"scorer": "constraints", "also": ["length"]},
            "every record has expectations",
            [
                item.model_copy(
                    update={
                        "reference": check,
                        "context": item.context | {"answer": item.reference},
                    }
                )
                for item, check in zip(items, checks, strict=True)
            ],
        )
    items = [item for item in items if isinstance(item.reference, str)]
    if not items:
        raise EvaluationError(
            "its records have neither answers nor, all of them, expectations that can be checked.",
            where=task_type,
        )
    answers = [str(item.reference) for item in items]
    skill = taxonomy.skills.get(task_type) if taxonomy else None
    if skill and skill.closed_labels and _are_labels(answers, skill.closed_labels):
        tree = _short("classification", labels=list(skill.closed_labels))
        return tree, "closed labels of the taxonomy", items
    return (*_by_answers(answers), items)


def _by_answers(answers: Sequence[str]) -> tuple[dict[str, Any], str]:
    if all(map(_is_json, answers)):
        return {"scorer": "json_equal"}, "every answer is a JSON object or list"
    if all(len(one) <= LABEL_CHARACTERS and len(numbers_in(one)) == 1 for one in answers) and all(
        _is_bare_number(one) for one in answers
    ):
        return {"scorer": "numeric"}, "every answer is a number"
    labels = sorted(set(answers))
    few = 2 <= len(labels) <= MOST_LABELS and len(answers) >= ITEMS_PER_LABEL * len(labels)
    if few and all(len(one) <= LABEL_CHARACTERS for one in labels) and _differ(labels):
        why = f"{len(labels)} different short answers"
        return _short("classification", labels=labels), why
    if all(len(one) <= SHORT_CHARACTERS and "\n" not in one for one in answers):
        return _short("exact", also=[{"rouge": {"variant": "1"}}]), "short answers"
    return {"scorer": "rouge", "also": ["length"]}, "long answers"


def _short(scorer: str, **more: Any) -> dict[str, Any]:
    return {"scorer": scorer, **more, "max_new_tokens": SHORT_TOKENS}


def _are_labels(answers: Sequence[str], labels: Sequence[str]) -> bool:
    return {normalise(one) for one in answers} <= {normalise(one) for one in labels}


def _differ(labels: Sequence[str]) -> bool:
    """Whether labels differ also where case and marks do not count."""
    plain = {normalise(one) for one in labels}
    return len(plain) == len(labels) and "" not in plain


def _is_json(text: str) -> bool:
    try:
        return isinstance(read_json(text, bare=True), dict | list)
    except NoJsonError:
        return False


def _is_bare_number(text: str) -> bool:
    return sum(char.isalpha() for char in text) <= 2
