"""The process that shows records as tokens, and asks a model for their losses.

``python -m danlu.studio.token_worker``: requests come on stdin and answers go to stdout, a JSON
object a line. Apart from the studio, so that its pages never wait for torch, and so that the memory
goes back when nobody has asked for a while. At most one model is held.
"""

from __future__ import annotations

import json
import math
import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import DanluError

if TYPE_CHECKING:
    from danlu.config.recipe import SequencesSection
    from danlu.sequences.template import ChatTemplate
    from danlu.training.likelihood import Judge

IDLE_S = 600.0
"""Without a request it ends."""
SAID = ("rank", "score", "label")
LONGEST = 16_384
"""Tokens of a record that are shown at most."""

Say = Callable[..., None]


@dataclass
class Reader:
    """A tokenizer with what a run learned by, and the model beside it if losses are asked for.

    Attributes:
        tokenizer: Of the run or model.
        template: With which conversations are rendered; None where only plain text was learned.
        settings: The recipe's ``sequences``.
        notes: What a reader should know.
    """

    tokenizer: Any
    template: ChatTemplate | None
    settings: SequencesSection
    notes: list[str] = field(default_factory=list)


@dataclass
class Desk:
    """Answers requests, and keeps the last reader and the last model.

    Attributes:
        say: Takes what is told, by name.
    """

    say: Say
    _reader: tuple[str, Reader] | None = None
    _judge: tuple[str, Judge] | None = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Show one record.

        Args:
            asked: ``model`` (a run's folder, or a model's name), ``is_run``, ``stamp`` (another
                one where the model has changed), ``record`` (a row as versions have it), and
                ``losses`` (whether they are wanted).

        Raises:
            DanluError: If the tokenizer, the model or the template cannot be had.
        """
        key = f"{asked['model']} {asked['stamp']}"
        if self._reader is None or self._reader[0] != key:
            self.say(stage="tokenizer")
            self._reader = (key, _read(asked["model"], asked["is_run"]))
        reader = self._reader[1]
        rows, branches, notes = _rows(reader, asked["record"])
        found = []
        losses: list[Any] = [None] * len(rows)
        if asked["losses"] and rows:
            losses = self._losses(key, asked["model"], branches)
        for row, of in zip(rows, losses, strict=True):
            found.append(_shown(reader, row, of))
        return {"branches": found, "notes": [*reader.notes, *notes]}

    def _losses(self, key: str, model: str, branches: list[Any]) -> list[Any]:
        from danlu.training.likelihood import Judge
        from danlu.training.token_losses import token_losses

        if self._judge is None or self._judge[0] != key:
            self._judge = None  # first: two models at once may be too many
            self.say(stage="model")
            self._judge = (key, Judge.load(model))
        self.say(stage="losses")
        judge = self._judge[1]
        return token_losses(judge.model, branches, judge.packing)


def _read(model: str, is_run: bool) -> Reader:
    from danlu.config.recipe import SequencesSection
    from danlu.diagnosis.subject import Subject
    from danlu.models.load import load_tokenizer
    from danlu.sequences.template import ChatTemplate

    if is_run:
        subject = Subject.open(Path(model))
        return Reader(subject.tokenizer, subject.template, subject.recipe.sequences)
    tokenizer = load_tokenizer(model)
    return Reader(tokenizer, ChatTemplate.load(tokenizer), SequencesSection())


def _rows(reader: Reader, row: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any], list[str]]:
    """Return a record's branches described, themselves, and why others are not there."""
    from danlu.errors import RecordError
    from danlu.records.lines import record_of
    from danlu.sequences import answers_of, explain_rows
    from danlu.sequences.prepare import prepare

    record = record_of(row)
    settings = reader.settings
    documents = settings.documents or record.is_text
    if reader.template is None and not record.is_text:
        raise RecordError(
            "this model has no chat template, so it reads plain text only; choose another model.",
            where=record.id,
        )
    # A record that is left out is told of; it is no error here.
    lenient = {"overlong": "drop"} if settings.overlong == "error" else {}
    settings = settings.model_copy(update=lenient)
    answers = None if documents else answers_of([record])
    template: Any = reader.template
    prepared = prepare(
        [record], reader.tokenizer, template, settings, documents=documents, answers=answers
    )
    told = [f"{drop.reason}: {drop.detail}" for drop in prepared.drops]
    if not len(prepared):
        return [], [], told
    rows = list(explain_rows(prepared, [record], reader.tokenizer, template, settings, answers))
    branches = prepared.record(0)
    size, kept = 0, 0
    for one in branches:
        size += len(one.input_ids)
        if kept and size > LONGEST:
            break
        kept += 1
    if kept < len(rows):
        told.append(f"{len(rows) - kept} more branches are not shown: more than {LONGEST:,} tokens")
    return rows[:kept], branches[:kept], told


def _shown(reader: Reader, row: dict[str, Any], losses: Any) -> dict[str, Any]:
    """Return a branch in pieces of whole characters; of several tokens, their losses added."""
    from danlu.sequences.explain import decode
    from danlu.sequences.terminal import pieces, visible

    ids, weights = row["input_ids"], row["weights"]
    found = []
    for piece in pieces(reader.tokenizer, ids):
        own = slice(piece.start, piece.end)
        one: dict[str, Any] = {
            "text": visible(piece.text),
            "weight": max(weights[own]),
            "prompt": piece.start < row["prompt_tokens"],
            "shared": all(row["shared"][own]),
            "tokens": piece.end - piece.start,
        }
        if losses is not None and piece.start > 0:
            one["loss"] = float(losses.nats[own].sum())
            if int(losses.likeliest[piece.start]) != ids[piece.start]:
                instead = decode(reader.tokenizer, [int(losses.likeliest[piece.start])])
                one["instead"] = visible(instead)
                one["instead_probability"] = float(losses.probability[piece.start])
        found.append(one)
    return {
        "branch": row["branch"],
        "tokens": len(ids),
        "trained": sum(weight > 0 for weight in weights),
        "said": {name: row[name] for name in SAID if row.get(name) is not None},
        "loss": _mean(weights, losses),
        "pieces": found,
    }


def _mean(weights: list[float], losses: Any) -> float | None:
    """Return the loss of training: the mean over tokens by their weights."""
    if losses is None or not sum(weights):
        return None
    pairs = zip(weights, losses.nats.tolist(), strict=True)
    mean = sum(weight * nats for weight, nats in pairs if weight) / sum(weights)
    return mean if math.isfinite(mean) else None


def _lines() -> Iterator[str]:
    """Yield requests until stdin ends, or nobody has asked for ``IDLE_S``."""
    rest = b""
    while True:
        line, ended, rest = rest.partition(b"\n")
        if ended:
            yield line.decode()
            continue
        rest = line
        if not select.select([0], [], [], IDLE_S)[0]:
            return
        more = os.read(0, 1 << 20)
        if not more:
            return
        rest += more


def main() -> None:
    """Answer until nobody asks any more."""
    os.nice(5)
    # What libraries print must not stand between the answers.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    key = ""

    def say(**what: Any) -> None:
        out.write(json.dumps({"key": key, **what}) + "\n")
        out.flush()

    desk = Desk(say)
    for line in _lines():
        asked = json.loads(line)
        key = asked["key"]
        try:
            say(found=desk.answer(asked))
        except (DanluError, OSError, MemoryError) as error:
            say(fault=str(error))


if __name__ == "__main__":
    main()
