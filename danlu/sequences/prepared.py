"""Prepared data: every branch of a data set as arrays, in memory or mapped from a directory.

One after another lie the tokens of all branches; offsets say where each branch begins and which
branches are a record's. Mapped from a directory, only the pages that are read take memory, so data
may be larger than it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from danlu.errors import RunError
from danlu.sequences.branch import Branch, Taught, Verdict
from danlu.sequences.labels import Labels
from danlu.sequences.storage import Columns, Strings, new_directory, ranges, read_columns
from danlu.sequences.weighting import equal_task_types

FORMAT = 2
DESCRIPTION = "prepared.json"
DROPS = "drops.jsonl"
RECORDS_AT_A_TIME = 4096
ARRAYS: dict[str, type[np.generic]] = {
    "input_ids": np.int32,
    "weights": np.float32,
    "offsets": np.int64,
    "branch_record": np.int32,
    "branch_channel": np.int32,
    "branch_index": np.int32,
    "prompt_tokens": np.int32,
    "branch_rank": np.int32,
    "branch_score": np.float32,
    "branch_label": np.int8,
    "record_offsets": np.int64,
    "record_channel": np.int32,
    "record_position": np.int64,
}
"""The arrays of prepared data by name, with the dtype they are stored in."""

COLUMNS = {**ARRAYS, "record_ids_text": np.uint8, "record_ids_offsets": np.int64}
"""The same as they are stored, with the record ids."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Something that was left out or cut, and why.

    Attributes:
        record_id: Whose it was.
        task_type: The record's task type.
        branch: Which of the record's trainable turns, from 0; None for the whole record.
        reason: One of a few fixed phrases, to count by.
        detail: What exactly, for a person to read.
        kept: True if the branch is still trained, only shorter.
    """

    record_id: str
    task_type: str
    branch: int | None
    reason: str
    detail: str
    kept: bool = False


@dataclass(frozen=True, eq=False)
class KeptTeacher:
    """A teacher's likeliest K tokens at each of the P trained tokens, branch after branch.

    Attributes:
        ids: int32 ``(P, K)``; see ``Taught``.
        logprobs: float32 ``(P, K + 1)``.
        offsets: int64 ``(B + 1,)``: where each branch's begin.
    """

    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def of(self, b: int) -> Taught:
        """Return what was kept for branch ``b``; views."""
        own = slice(int(self.offsets[b]), int(self.offsets[b + 1]))
        return Taught(self.ids[own], self.logprobs[own])


@dataclass(frozen=True, eq=False)
class PreparedData:
    """All branches of a data set. N tokens, B branches, R records.

    Attributes:
        input_ids: int32 ``(N,)``: the paths of all branches, one after another.
        weights: float32 ``(N,)``: with which each token is predicted, after ``weighting``.
        offsets: int64 ``(B + 1,)``: where each branch begins.
        branch_record: int32 ``(B,)``: index of the branch's record.
        branch_channel: int32 ``(B,)``: index of its task type in ``channels``.
        branch_index: int32 ``(B,)``: which of the record's trainable turns it is.
        prompt_tokens: int32 ``(B,)``: how many leading tokens are prompt.
        branch_rank: int32 ``(B,)``: rank of an answer to be compared, 1 is the best; else 0.
        branch_score: float32 ``(B,)``: its score; NaN if there is none.
        branch_label: int8 ``(B,)``: 1 thumbs up, -1 thumbs down, 0 neither.
        record_offsets: int64 ``(R + 1,)``: record r has branches
            ``record_offsets[r]:record_offsets[r + 1]``.
        record_ids: The records' ids.
        record_channel: int32 ``(R,)``: index of the record's task type.
        record_position: int64 ``(R,)``: which record of the input it was, from 0.
        channels: Task types, sorted.
        drops: What was left out or cut.
        records_read: Records given, with those that were dropped.
        weighting: How weights were scaled (``sequences.weighting``).
        fingerprint: Equal for equal content: tokens, weights, ids, task types and settings.
        notes: What the chat template has to say.
        reference: float32 ``(B,)``: log-probability in nats of each completion under a reference
            model; None without one. It is not saved with the rest, and no subset carries it.
        labels: Classes of the records, by ``record_position``; None where none are learned. Like
            ``reference`` not saved with the rest.
        teacher: What a teacher says of each trained token; None without one. Likewise.
        source_ends: How many records of the input stand before the end of each source; empty
            where nobody has said. Likewise.
    """

    input_ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]
    branch_record: NDArray[np.int32]
    branch_channel: NDArray[np.int32]
    branch_index: NDArray[np.int32]
    prompt_tokens: NDArray[np.int32]
    branch_rank: NDArray[np.int32]
    branch_score: NDArray[np.float32]
    branch_label: NDArray[np.int8]
    record_offsets: NDArray[np.int64]
    record_ids: Sequence[str]
    record_channel: NDArray[np.int32]
    record_position: NDArray[np.int64]
    channels: tuple[str, ...]
    drops: tuple[Drop, ...]
    records_read: int
    weighting: str
    fingerprint: str
    notes: tuple[str, ...] = ()
    reference: NDArray[np.float32] | None = None
    labels: Labels | None = None
    teacher: KeptTeacher | None = None
    source_ends: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Count the records that have something to learn."""
        return len(self.record_channel)

    @property
    def branches(self) -> int:
        """Number of branches, B."""
        return len(self.branch_record)

    def branch(self, b: int) -> Branch:
        """Return branch ``b``, ``0 <= b < B``; its arrays are views."""
        start, end = int(self.offsets[b]), int(self.offsets[b + 1])
        labels, record = self.labels, int(self.branch_record[b])
        return Branch(
            input_ids=self.input_ids[start:end],
            weights=self.weights[start:end],
            record=record,
            branch=int(self.branch_index[b]),
            channel=int(self.branch_channel[b]),
            prompt_tokens=int(self.prompt_tokens[b]),
            verdict=Verdict(
                int(self.branch_rank[b]), float(self.branch_score[b]), int(self.branch_label[b])
            ),
            reference=math.nan if self.reference is None else float(self.reference[b]),
            classes=() if labels is None else labels.at(int(self.record_position[record])),
            taught=None if self.teacher is None else self.teacher.of(b),
        )

    def record(self, r: int) -> list[Branch]:
        """Return the branches of record ``r``, ``0 <= r < R``."""
        return [
            self.branch(b) for b in range(int(self.record_offsets[r]), self.record_offsets[r + 1])
        ]

    def step(self, records: Iterable[int]) -> list[Branch]:
        """Return the branches of a step's records; one that comes again is a copy of its own."""
        times: Counter[int] = Counter()
        branches: list[Branch] = []
        for r in map(int, records):
            own = self.record(r)
            branches += [replace(one, copy=times[r]) for one in own] if times[r] else own
            times[r] += 1
        return branches

    def drop_counts(self) -> dict[str, dict[str, int]]:
        """Count what was dropped or cut: ``{task_type: {reason: count}}``, types sorted."""
        counts = Counter((drop.task_type, drop.reason) for drop in self.drops)
        table: dict[str, dict[str, int]] = {}
        for (task_type, reason), count in sorted(counts.items()):
            table.setdefault(task_type, {})[reason] = count
        return table

    def subset(
        self,
        records: Iterable[int],
        *,
        with_drops: bool = False,
        directory: Path | None = None,
    ) -> PreparedData:
        """Return some of the records, in the order given.

        Channels keep their numbers. With ``weighting: task_type`` the types are made equal anew.

        Args:
            records: Indices of records, none twice.
            with_drops: Carry the drops along, and count their records as read.
            directory: Write the subset there and map it; needed where it exceeds the memory.

        Raises:
            ValueError: If a record is named twice.
        """
        chosen = np.fromiter(records, np.int64)
        if len(np.unique(chosen)) != len(chosen):
            raise ValueError("a record may be in a subset only once")
        digest = hashlib.blake2b(self.fingerprint.encode() + chosen.tobytes(), digest_size=16)
        with nullcontext(None) if directory is None else new_directory(directory) as growing:
            part = PreparedData.of_columns(
                self._chosen_columns(chosen, growing),
                channels=self.channels,
                drops=self.drops if with_drops else (),
                records_read=len(chosen) + with_drops * (self.records_read - len(self)),
                weighting=self.weighting,
                fingerprint=digest.hexdigest(),
                notes=self.notes,
            )
            if self.weighting == "task_type":
                equal_task_types(
                    part.weights, part.offsets, part.branch_channel, len(self.channels)
                )
            if growing is not None:
                part.write_description(growing)
        return part if directory is None else PreparedData.load(directory)

    @classmethod
    def of_columns(cls, columns: Mapping[str, NDArray[Any]], **description: Any) -> Self:
        """Make prepared data of the arrays named in ``COLUMNS``."""
        ids = Strings(columns["record_ids_text"], columns["record_ids_offsets"])
        arrays: dict[str, Any] = {name: columns[name] for name in ARRAYS}
        return cls(**arrays, record_ids=ids, **description)

    def save(self, directory: Path) -> None:
        """Write everything to a directory, which appears only when complete."""
        with new_directory(directory) as growing:
            with Columns(COLUMNS, growing) as columns:
                columns.append(**self._columns())
            self.write_description(growing)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Map prepared data from a directory; pages are read when they are used.

        Raises:
            RunError: If there is none, or it is incomplete or of another version.
        """
        file = directory / DESCRIPTION
        if not file.is_file():
            raise RunError(
                "There is no prepared data here. Prepare it again.", where=f"{directory}"
            )
        about = json.loads(file.read_text("utf-8"))
        if about.pop("format") != FORMAT:
            raise RunError(
                "The prepared data was written by another version of Danlu. Delete the directory "
                "and prepare it again.",
                where=f"{directory}",
            )
        columns = read_columns(COLUMNS, directory)
        if any(len(columns[name]) != length for name, length in about.pop("lengths").items()):
            raise RunError(
                "The prepared data is incomplete. Delete the directory and prepare it again.",
                where=f"{directory}",
            )
        about["channels"], about["notes"] = tuple(about["channels"]), tuple(about["notes"])
        with (directory / DROPS).open(encoding="utf-8") as lines:
            about["drops"] = tuple(Drop(**json.loads(line)) for line in lines)
        return cls.of_columns(columns, **about)

    def write_description(self, directory: Path) -> None:
        """Write all but the arrays to a directory that has them already."""
        with (directory / DROPS).open("w", encoding="utf-8") as lines:
            for drop in self.drops:
                lines.write(json.dumps(asdict(drop), ensure_ascii=False) + "\n")
        about = {
            "format": FORMAT,
            "lengths": {name: len(column) for name, column in self._columns().items()},
            "channels": self.channels,
            "records_read": self.records_read,
            "weighting": self.weighting,
            "fingerprint": self.fingerprint,
            "notes": self.notes,
        }
        text = json.dumps(about, ensure_ascii=False, indent=1)
        (directory / DESCRIPTION).write_text(text + "\n", "utf-8")

    def _columns(self) -> dict[str, NDArray[Any]]:
        ids = self.record_ids
        if not isinstance(ids, Strings):
            ids = Strings.of(ids)
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in ARRAYS}
        return {**arrays, "record_ids_text": ids.text, "record_ids_offsets": ids.offsets}

    def _chosen_columns(
        self, chosen: NDArray[np.int64], directory: Path | None
    ) -> dict[str, NDArray[Any]]:
        """Gather the columns of some records, a stretch at a time."""
        with Columns(COLUMNS, directory) as columns:
            columns.append(**empty_columns())
            tokens = branches = id_bytes = 0
            for begin in range(0, len(chosen), RECORDS_AT_A_TIME):
                some = chosen[begin : begin + RECORDS_AT_A_TIME]
                first = self.record_offsets[some]
                per_record = self.record_offsets[some + 1] - first
                taken = ranges(first, per_record)
                lengths = self.offsets[taken + 1] - self.offsets[taken]
                places = ranges(self.offsets[taken], lengths)
                ids = Strings.of(self.record_ids[r] for r in some.tolist())
                columns.append(
                    input_ids=self.input_ids[places],
                    weights=self.weights[places],
                    offsets=tokens + np.cumsum(lengths),
                    branch_record=np.repeat(np.arange(begin, begin + len(some)), per_record),
                    branch_channel=self.branch_channel[taken],
                    branch_index=self.branch_index[taken],
                    prompt_tokens=self.prompt_tokens[taken],
                    branch_rank=self.branch_rank[taken],
                    branch_score=self.branch_score[taken],
                    branch_label=self.branch_label[taken],
                    record_offsets=branches + np.cumsum(per_record),
                    record_channel=self.record_channel[some],
                    record_position=self.record_position[some],
                    record_ids_text=ids.text,
                    record_ids_offsets=id_bytes + ids.offsets[1:],
                )
                tokens += int(lengths.sum())
                branches += len(taken)
                id_bytes += len(ids.text)
            return columns.finish()


def empty_columns() -> dict[str, NDArray[Any]]:
    """Return columns of no records: offsets begin with their 0, all others are empty."""
    return {name: np.zeros(int(name.endswith("offsets")), t) for name, t in COLUMNS.items()}
