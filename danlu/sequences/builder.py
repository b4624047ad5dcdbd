"""Chunks of encoded branches to the arrays of prepared data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError
from danlu.sequences.answers import NOTHING_TO_COMPARE, Answers
from danlu.sequences.branches import NOTHING_TO_LEARN
from danlu.sequences.chunks import Chunk
from danlu.sequences.documents import Ends, cut_documents
from danlu.sequences.lengths import Fit, describe_fit, fit_lengths, same_prompts
from danlu.sequences.prepared import Drop, PreparedData, empty_columns
from danlu.sequences.storage import Columns, Strings, offsets_of, ranges
from danlu.sequences.template import ChatTemplate
from danlu.sequences.weighting import (
    count_equally,
    equal_task_types,
    message_weights,
    train_prompts,
)

Int64 = NDArray[np.int64]
CONTENT = ("ids", "shape", "weight", "verdict", "records")
"""What a fingerprint is made of, each hashed as it comes."""


@dataclass(slots=True, eq=False)
class _Branches:
    """The branches of a chunk. N tokens, B branches.

    Attributes:
        input_ids: int32 ``(N,)``.
        offsets: int64 ``(B + 1,)``.
        prompt_tokens: int64 ``(B,)``.
        weight: float64 ``(B,)``: message weights.
        record: int64 ``(B,)``: number in the chunk.
        branch: int64 ``(B,)``: number in the record.
        rank: int32 ``(B,)``: as in ``PreparedData``, like the next two.
        score: float32 ``(B,)``.
        label: int8 ``(B,)``.
    """

    input_ids: NDArray[np.int32]
    offsets: Int64
    prompt_tokens: Int64
    weight: NDArray[np.float64]
    record: Int64
    branch: Int64
    rank: NDArray[np.int32]
    score: NDArray[np.float32]
    label: NDArray[np.int8]

    @property
    def record_offsets(self) -> Int64:
        """Where the branches of each record that has any begin, and where the last ones end."""
        return np.append(np.flatnonzero(np.diff(self.record, prepend=-1)), len(self.record))

    def cut(self, is_document: NDArray[np.bool_], ends: Ends, max_length: int) -> _Branches:
        """Return the branches with each document as its windows."""
        windows = cut_documents(
            self.input_ids, self.offsets, self.prompt_tokens, is_document, ends, max_length
        )
        return self._take(
            windows.text,
            input_ids=windows.input_ids,
            offsets=windows.offsets,
            prompt_tokens=windows.prompt_tokens,
            branch=self.branch[windows.text] + windows.window,
        )

    def shortened(self, fit: Fit) -> _Branches:
        """Return the branches without the tokens that are to be cut."""
        lengths = np.diff(self.offsets) - fit.from_prompt - fit.from_completion
        return replace(
            self,
            input_ids=self.input_ids[ranges(self.offsets[:-1] + fit.from_prompt, lengths)],
            offsets=offsets_of(lengths),
            prompt_tokens=self.prompt_tokens - fit.from_prompt,
        )

    def select(self, keep: NDArray[np.bool_]) -> _Branches:
        """Return the branches to keep."""
        lengths = np.diff(self.offsets)[keep]
        return self._take(
            np.flatnonzero(keep),
            input_ids=self.input_ids[ranges(self.offsets[:-1][keep], lengths)],
            offsets=offsets_of(lengths),
        )

    def _take(self, which: Int64, **changed: NDArray[Any]) -> _Branches:
        """Return the columns of some branches, with those that are given in place of theirs."""
        per_branch = {
            name: getattr(self, name)[which]
            for name in ("prompt_tokens", "weight", "record", "branch", "rank", "score", "label")
        }
        return replace(self, **{**per_branch, **changed})


class Builder:
    """Takes encoded chunks in order and ends with prepared data.

    Args:
        settings: The recipe's ``sequences``.
        columns: Where the arrays grow; the columns of ``COLUMNS``, still empty.
        ends: What stands around a document; None where there are no documents.
        answers: Whether branches are answers to be compared or judged; None for turns.
    """

    def __init__(
        self,
        settings: SequencesSection,
        columns: Columns,
        ends: Ends | None = None,
        answers: Answers | None = None,
    ) -> None:
        if answers is not None:
            # An answer's log-probability is a sum over its tokens, each counted once.
            plain = {"weighting": "token", "train_on_prompt": False}
            settings = settings.model_copy(update=plain)
        self._settings = settings
        self._answers = answers
        self._ends = ends
        self._columns = columns
        self._columns.append(**empty_columns())
        self._channels: dict[str, int] = {}  # numbered as they come; sorted at the end
        self._tokens = self._branches = self._records = self._id_bytes = 0
        self._drops: list[Drop] = []
        self._records_read = 0
        self._content = {name: hashlib.blake2b() for name in CONTENT}

    def add(self, chunk: Chunk, ids: NDArray[np.int32], offsets: Int64) -> None:
        """Add a chunk.

        Args:
            chunk: The rendered records.
            ids: The ids of all its texts, one after another.
            offsets: Where each text begins, and the end of the last.

        Raises:
            RecordError: If a branch is too long and ``overlong`` is ``error``.
        """
        self._drops += chunk.drops
        self._records_read = chunk.records_read
        branches = _Branches(
            input_ids=ids,
            offsets=offsets[::2],
            prompt_tokens=(offsets[1:] - offsets[:-1])[::2],
            weight=np.array(chunk.weight, np.float64),
            record=np.array(chunk.record, np.int64),
            branch=np.array(chunk.branch, np.int64),
            rank=np.array([one.rank for one in chunk.verdict], np.int32),
            score=np.array([one.score for one in chunk.verdict], np.float32),
            label=np.array([one.label for one in chunk.verdict], np.int8),
        )
        if self._ends is not None and any(chunk.is_document):
            branches = branches.cut(
                np.array(chunk.is_document), self._ends, self._settings.max_length
            )
        branches = self._fitted(chunk, branches)
        weights = self._weights(branches)
        learned = self._learned(branches, weights)
        if not learned.all():
            self._note_unlearned(chunk, branches, learned)
            weights = weights[np.repeat(learned, np.diff(branches.offsets))]
            branches = branches.select(learned)
        if self._answers == "compared":
            comparable = self._comparable(chunk, branches)
            weights = weights[np.repeat(comparable, np.diff(branches.offsets))]
            branches = branches.select(comparable)
        if len(branches.record):
            self._append(chunk, branches, weights)

    def finish(self, template: ChatTemplate | None) -> PreparedData:
        """Return the prepared data; nothing can be added any more."""
        arrays = self._columns.finish()
        names = sorted(self._channels)
        sorted_number = {name: number for number, name in enumerate(names)}
        renumber = np.array([sorted_number[name] for name in self._channels], np.int32)
        for channel in ("branch_channel", "record_channel"):
            arrays[channel][:] = renumber[arrays[channel]] if names else 0
        if self._settings.weighting == "task_type":
            equal_task_types(
                arrays["weights"], arrays["offsets"], arrays["branch_channel"], len(names)
            )
        return PreparedData.of_columns(
            arrays,
            channels=tuple(names),
            drops=tuple(self._drops),
            records_read=self._records_read,
            weighting=self._settings.weighting,
            fingerprint=self._fingerprint(template),
            notes=() if template is None else template.notes,
        )

    def _fitted(self, chunk: Chunk, branches: _Branches) -> _Branches:
        """Drop or cut branches that are too long, and note each."""
        prompt = branches.prompt_tokens
        completion = np.diff(branches.offsets) - prompt
        fit = fit_lengths(prompt, completion, self._settings)
        if self._answers is not None:
            fit = same_prompts(fit, branches.record)
        touched = np.flatnonzero(~fit.keep | (fit.from_prompt + fit.from_completion > 0))
        if not len(touched):
            return branches
        for b in touched.tolist():
            reason, detail = describe_fit(
                bool(fit.keep[b]), int(prompt[b]), int(completion[b]), self._settings
            )
            record, _ = chunk.records[branches.record[b]]
            number = int(branches.branch[b])
            if self._settings.overlong == "error":
                raise RecordError(
                    f"Branch {number} has {detail}. Raise sequences.max_length, or say with "
                    "sequences.overlong what should happen: drop, truncate_prompt_left or "
                    "truncate_completion.",
                    where=f"record {record.id}",
                )
            kept = bool(fit.keep[b])
            self._drops.append(Drop(record.id, record.task_type, number, reason, detail, kept))
        return branches.shortened(fit).select(fit.keep)

    def _comparable(self, chunk: Chunk, branches: _Branches) -> NDArray[np.bool_]:
        """Tell which branches are of a record that still has answers of two ranks."""
        comparable = np.ones(len(branches.record), np.bool_)
        for first, last in pairwise(branches.record_offsets.tolist()):
            if len(set(branches.rank[first:last].tolist())) < 2:
                comparable[first:last] = False
                record, _ = chunk.records[branches.record[first]]
                detail = "its other responses are left out, each with its own reason"
                self._drops.append(
                    Drop(record.id, record.task_type, None, NOTHING_TO_COMPARE, detail)
                )
        return comparable

    def _weights(self, branches: _Branches) -> NDArray[np.float64]:
        """Return the weights before anything is made to count equally."""
        weights = message_weights(branches.offsets, branches.prompt_tokens, branches.weight)
        if self._settings.train_on_prompt:
            train_prompts(
                weights,
                branches.input_ids,
                branches.offsets,
                branches.prompt_tokens,
                branches.record_offsets,
            )
        return weights

    def _learned(self, branches: _Branches, weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which branches have anything to learn."""
        if not len(weights):
            return np.ones(0, np.bool_)
        learned = np.add.reduceat(weights, branches.offsets[:-1]) > 0
        if self._settings.weighting == "turn":
            learned &= branches.weight > 0  # a turn that counts nothing, nor does its prompt
        return learned

    def _note_unlearned(
        self, chunk: Chunk, branches: _Branches, learned: NDArray[np.bool_]
    ) -> None:
        """Note branches with nothing to learn, but for those that were given weight 0."""
        for b in np.flatnonzero(~learned & (branches.weight > 0)).tolist():
            record, _ = chunk.records[branches.record[b]]
            self._drops.append(
                Drop(
                    record.id,
                    record.task_type,
                    int(branches.branch[b]),
                    NOTHING_TO_LEARN,
                    "its only trained token has no token before it to be predicted from",
                )
            )

    def _append(self, chunk: Chunk, branches: _Branches, weights: NDArray[np.float64]) -> None:
        """Weigh what is left of a chunk and append it to the columns."""
        offsets, record_offsets = branches.offsets, branches.record_offsets
        weights = count_equally(
            weights, offsets, branches.weight, record_offsets, self._settings.weighting
        )
        records = [chunk.records[r] for r in branches.record[record_offsets[:-1]].tolist()]
        numbering = self._channels
        record_channel = np.array(
            [numbering.setdefault(one.task_type, len(numbering)) for one, _ in records], np.int32
        )
        per_record = np.diff(record_offsets)
        channel = np.repeat(record_channel, per_record)
        ids = Strings.of(one.id for one, _ in records)
        self._columns.append(
            input_ids=branches.input_ids,
            weights=weights,
            offsets=self._tokens + offsets[1:],
            branch_record=self._records + np.repeat(np.arange(len(records)), per_record),
            branch_channel=channel,
            branch_index=branches.branch,
            prompt_tokens=branches.prompt_tokens,
            branch_rank=branches.rank,
            branch_score=branches.score,
            branch_label=branches.label,
            record_offsets=self._branches + record_offsets[1:],
            record_channel=record_channel,
            record_position=np.array([position for _, position in records], np.int64),
            record_ids_text=ids.text,
            record_ids_offsets=self._id_bytes + ids.offsets[1:],
        )
        self._tokens += int(offsets[-1])
        self._branches += len(branches.record)
        self._records += len(records)
        self._id_bytes += len(ids.text)
        self._content["ids"].update(branches.input_ids.data)
        self._content["weight"].update(branches.weight.data)
        verdict = np.stack([branches.rank, branches.score.view(np.int32), branches.label])
        self._content["verdict"].update(np.ascontiguousarray(verdict.T).data)
        shape = np.stack([np.diff(offsets), branches.prompt_tokens, branches.branch])
        self._content["shape"].update(np.ascontiguousarray(shape.T).data)
        # Each with its length before it, so that no two lists of names look alike.
        names = ((one.id, one.task_type) for one, _ in records)
        text = "".join(f"{len(a)}:{a}{len(b)}:{b}" for a, b in names)
        self._content["records"].update(text.encode())

    def _fingerprint(self, template: ChatTemplate | None) -> str:
        """Hash what the records became, with the settings that made it."""
        digest = hashlib.blake2b(digest_size=16)
        for content in self._content.values():
            digest.update(content.digest())
        source, stop_ids = ("", ()) if template is None else (template.source, template.stop_ids)
        for text in (self._settings.model_dump_json(), source, str(stop_ids)):
            digest.update(hashlib.blake2b(text.encode()).digest())
        return digest.hexdigest()
