"""Many answers at a time from one model in this process, each streamed as it is drawn.

A thread computes step after step. At each step the answers under way get one more token, prompts
that have come are read in pieces so that nobody waits long for a long one, answers that have ended
leave, and waiting ones take their place. An answer's tokens depend on its prompt, its sampling and
its seed, and not on who else is being answered, up to the rounding of sums.

What a later prompt has in common with one that was read before (the system prompt, the conversation
so far) is not computed again while its keys and values are kept.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from danlu.errors import DanluError
from danlu.generation.draw import draw, uniforms
from danlu.generation.requests import (
    EngineCounts,
    Finish,
    Piece,
    Request,
    StopTexts,
    TokenScore,
)
from danlu.generation.rows import KeyValues, OneByOne, Part, SideBySide
from danlu.generation.text import TextStream

LEAST_SHARED = 16
"""A common beginning of fewer tokens is computed again: copying it is no gain."""


@dataclass(frozen=True)
class EngineLimits:
    """What the engine takes on at a time.

    Attributes:
        rows: Answers computed side by side; more wait.
        waiting: Requests that may wait; more are refused.
        prompt_tokens: Tokens of prompts read in a step, so that answers under way go on meanwhile.
        kept_bytes: Keys and values of ended answers that are kept for prompts that begin alike.
    """

    rows: int = 16
    waiting: int = 256
    prompt_tokens: int = 256
    kept_bytes: int = 512 * 2**20


class BusyError(DanluError):
    """So many requests wait already that another one is refused."""


@dataclass(frozen=True)
class _Aside:
    """Hidden states that are wanted beside the answers."""

    texts: Sequence[Sequence[int]]
    adapter: str | None
    each: Callable[[Tensor], Tensor]
    future: Future[list[Tensor]]


class Ticket:
    """A request that was taken on."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        """Give it up: its answer ends at the next step. Any thread may do so."""
        self.cancelled = True


class _Row:
    """One answer under way."""

    def __init__(
        self, request: Request, ticket: Ticket, keys: KeyValues, decode: Callable[..., str]
    ) -> None:
        self.request = request
        self.ticket = ticket
        self.keys = keys
        self.read = 0  # tokens of the prompt whose keys are there
        self.answer: list[int] = []
        self.text = TextStream(decode)
        self.stop = StopTexts(request.stop)
        sampling = request.sampling
        self.uniform_T = uniforms(sampling.seed, [0], sampling.max_new_tokens)[0]
        self.counts: dict[int, int] = {}

    @property
    def tokens(self) -> list[int]:
        """Prompt and answer."""
        return [*self.request.prompt, *self.answer]

    def next_tokens(self, room: int) -> Sequence[int]:
        """Return what is to be computed next: the last token drawn, or a piece of the prompt."""
        if self.read < len(self.request.prompt):
            return self.request.prompt[self.read : self.read + room]
        return self.answer[-1:]


class Engine:
    """Answers requests side by side in a thread of its own.

    Args:
        backend: Computes the model's steps.
        decode: Token ids to text.
        limits: What is taken on at a time.
        choose_adapter: Called with a request's ``adapter`` before a step for it; None if the model
            has none to choose from.
    """

    def __init__(
        self,
        backend: SideBySide | OneByOne,
        decode: Callable[[Sequence[int]], str],
        *,
        limits: EngineLimits | None = None,
        choose_adapter: Callable[[str | None], None] | None = None,
    ) -> None:
        self.limits = limits or EngineLimits()
        self.counts = EngineCounts()
        self._backend = backend
        self._decode = decode
        self._choose = choose_adapter
        self._chosen: tuple[str | None] | None = None
        self._waiting: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._kept: OrderedDict[tuple[str | None, tuple[int, ...]], KeyValues] = OrderedDict()
        self._asides: deque[_Aside] = deque()
        self._work = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="danlu-engine", daemon=True)
        self._thread.start()

    # Asked from any thread ---------------------------------------------------------------

    def submit(self, request: Request) -> Ticket:
        """Take on a request; its pieces come to ``on_piece``, the last with ``finish`` set.

        Raises:
            BusyError: If too many wait already.
            DanluError: If the engine is closed.
        """
        ticket = Ticket()
        with self._work:
            if self._closing:
                raise DanluError("the engine is closed and takes on nothing more.")
            if len(self._waiting) >= self.limits.waiting:
                raise BusyError(
                    f"{len(self._waiting)} requests wait already, as many as may: try again later."
                )
            self._waiting.append(_Row(request, ticket, self._backend.keys(), self._decode))
            self.counts.requests += 1
            self.counts.waiting = len(self._waiting)
            self._work.notify()
        return ticket

    def states(
        self,
        texts: Sequence[Sequence[int]],
        adapter: str | None,
        each: Callable[[Tensor], Tensor],
    ) -> Future[list[Tensor]]:
        """Compute hidden states of texts between two steps, for embeddings.

        Args:
            texts: Token ids, each at least one.
            adapter: Whose.
            each: Makes of a text's states ``(T, D)`` what is wanted; called in the engine's thread.

        Raises:
            BusyError: If too many wait already.
            DanluError: If the engine is closed.
        """
        aside = _Aside(texts, adapter, each, Future())
        with self._work:
            if self._closing:
                raise DanluError("the engine is closed and takes on nothing more.")
            if len(self._asides) >= self.limits.waiting:
                raise BusyError("too many requests wait already: try again later.")
            self._asides.append(aside)
            self._work.notify()
        return aside.future

    def close(self, *, drain_s: float = 0.0) -> None:
        """End, after giving answers under way some time; what is left then is cancelled."""
        deadline = time.monotonic() + drain_s
        with self._work:
            self._closing = True
            self._work.notify()
        while time.monotonic() < deadline and (self._rows or self._waiting):
            time.sleep(0.01)
        with self._work:
            for row in (*self._rows, *self._waiting):
                row.ticket.cancel()
        self._thread.join()

    # The thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._work:
                while not (self._waiting or self._rows or self._asides or self._closing):
                    self._work.wait()
                if self._closing and not (self._waiting or self._rows or self._asides):
                    return
                self._admit()
                aside = self._asides.popleft() if self._asides else None
            if aside is not None:
                self._do(aside)
            self._leave([row for row in self._rows if row.ticket.cancelled], "cancelled")
            for adapter in dict.fromkeys(row.request.adapter for row in self._rows):
                try:
                    self._step(adapter)
                except Exception as error:  # noqa: BLE001 - the thread goes on for later requests
                    failed = [row for row in self._rows if row.request.adapter == adapter]
                    self._leave(failed, "error", f"{type(error).__name__}: {error}")

    def _admit(self) -> None:
        """Let waiting requests take free places."""
        while self._waiting and len(self._rows) < self.limits.rows:
            row = self._waiting.popleft()
            if not row.ticket.cancelled:
                self._reuse(row)
                self.counts.prompt_tokens += len(row.request.prompt)
            self._rows.append(row)
        self.counts.running, self.counts.waiting = len(self._rows), len(self._waiting)

    def _step(self, adapter: str | None) -> None:
        """Compute one step for the answers of an adapter, and draw their next tokens."""
        room = self.limits.prompt_tokens
        parts: list[tuple[_Row, Part]] = []
        for row in self._rows:
            if row.request.adapter != adapter:
                continue
            reads = row.read < len(row.request.prompt)
            if reads and room < 1:
                continue
            token_ids = row.next_tokens(room)
            room -= len(token_ids) if reads else 0
            parts.append((row, Part(token_ids, row.keys)))
        logits = self._computed(adapter, parts)
        if logits is None:
            return
        self.counts.steps += 1
        drawing: list[tuple[_Row, int]] = []
        for place, (row, part) in enumerate(parts):
            if row.read < len(row.request.prompt):
                row.read += len(part.token_ids)
            if row.read == len(row.request.prompt):
                drawing.append((row, place))
        self._draw(drawing, logits)

    def _computed(self, adapter: str | None, parts: list[tuple[_Row, Part]]) -> Tensor | None:
        """Compute a step; where it fails, the answers that asked most of it are given up.

        Most likely the memory did not suffice for a long prompt. The other answers are as they
        were, and go on at the next step.
        """
        try:
            self._choose_adapter(adapter)
            return self._backend.logits([part for _, part in parts])
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are to be answered
            self._kept.clear()
            most = max(len(part.token_ids) for _, part in parts)
            failed = [row for row, part in parts if len(part.token_ids) == most]
            self._leave(failed, "error", f"{type(error).__name__}: {error}")
            return None

    def _choose_adapter(self, adapter: str | None) -> None:
        if self._choose is not None and self._chosen != (adapter,):
            self._choose(adapter)
            self._chosen = (adapter,)

    def _do(self, aside: _Aside) -> None:
        """Compute hidden states that somebody waits for."""
        if not aside.future.set_running_or_notify_cancel():
            return
        try:
            self._choose_adapter(aside.adapter)
            with torch.inference_mode():
                states = self._backend.states(aside.texts)
                aside.future.set_result([aside.each(one).cpu() for one in states])
            self.counts.prompt_tokens += sum(len(text) for text in aside.texts)
        except Exception as error:  # noqa: BLE001 - told to whoever waits; the thread goes on
            aside.future.set_exception(error)

    def _draw(self, drawing: list[tuple[_Row, int]], logits: Tensor) -> None:
        """Draw the next token of each answer; those drawn alike are drawn together."""
        alike: dict[Any, list[tuple[_Row, int]]] = {}
        for row, place in drawing:
            sampling = row.request.sampling
            key = (sampling.greedy, sampling.temperature, sampling.top_p)
            alike.setdefault(key, []).append((row, place))
        for group in alike.values():
            rows = [row for row, _ in group]
            own_BV = logits[[place for _, place in group]].cpu()
            changed_BV = torch.stack(
                [_changed(one, row) for one, row in zip(own_BV, rows, strict=True)]
            )
            uniform_B = torch.stack([row.uniform_T[len(row.answer)] for row in rows])
            token_B = draw(changed_BV, rows[0].request.sampling, uniform_B)
            for row, logits_V, token_id in zip(rows, own_BV, token_B.tolist(), strict=True):
                self._give(row, token_id, logits_V)

    def _give(self, row: _Row, token_id: int, logits_V: Tensor) -> None:
        """Add a token to an answer, and tell what is new."""
        request = row.request
        row.answer.append(token_id)
        if request.constraint is not None:
            request.constraint.take(token_id)
        row.counts[token_id] = row.counts.get(token_id, 0) + 1
        self.counts.answer_tokens += 1
        ended = token_id in request.stop_ids
        text = "" if ended else row.stop.push(row.text.push(token_id))
        shown: tuple[TokenScore, ...] = ()
        if request.sampling.logprobs and not ended:
            shown = (_score(logits_V, token_id, request.top_logprobs),)
        finish: Finish | None = None
        if ended or row.stop.found:
            finish = "stop"
        elif len(row.answer) >= request.sampling.max_new_tokens:
            finish = "length"
        if finish is None:
            self._tell(row, Piece(text, 1, shown))
            return
        if not row.stop.found:
            text += row.stop.push(row.text.finish()) + row.stop.finish()
        self._end(row, Piece(text, 1, shown, finish))

    def _leave(self, rows: list[_Row], finish: Finish, error: str = "") -> None:
        for row in rows:
            self._end(row, Piece("", 0, finish=finish, error=error))

    def _end(self, row: _Row, piece: Piece) -> None:
        """Take an answer out; what is known of its beginning is kept for the next one."""
        with self._work:
            self._rows.remove(row)
            self.counts.running = len(self._rows)
        finish = piece.finish or "stop"
        self.counts.finished[finish] = self.counts.finished.get(finish, 0) + 1
        shares = self._backend.shares_beginnings and row.keys.length >= LEAST_SHARED
        if shares and finish != "error":
            self._keep(row)
        self._tell(row, piece)

    def _tell(self, row: _Row, piece: Piece) -> None:
        try:
            row.request.on_piece(piece)
        except Exception:  # noqa: BLE001 - whoever asked is gone; the others are to be answered
            row.ticket.cancel()

    # Beginnings that are known -----------------------------------------------------------

    def _keep(self, row: _Row) -> None:
        known = tuple(row.tokens[: row.keys.length])
        self._kept[row.request.adapter, known] = row.keys
        self._kept.move_to_end((row.request.adapter, known))
        total = sum(keys.nbytes for keys in self._kept.values())
        while total > self.limits.kept_bytes:
            _, dropped = self._kept.popitem(last=False)
            total -= dropped.nbytes

    def _reuse(self, row: _Row) -> None:
        """Take over keys and values of the longest beginning that is known."""
        if not self._backend.shares_beginnings:
            return
        prompt = tuple(row.request.prompt)
        known: list[tuple[int, KeyValues, tuple[str | None, tuple[int, ...]] | None]] = []
        for key, keys in self._kept.items():
            if key[0] == row.request.adapter:
                known.append((_common(prompt, key[1]), keys, key))
        for other in self._rows:
            if other.request.adapter == row.request.adapter:
                length = min(_common(prompt, other.tokens), other.keys.length)
                known.append((length, other.keys, None))
        if not known:
            return
        shared, keys, kept_as = max(known, key=lambda one: one[0])
        shared = min(shared, len(prompt) - 1)  # the last token says what comes next
        if shared < LEAST_SHARED:
            return
        row.keys, row.read = keys.beginning(shared), shared
        if kept_as is not None:
            self._kept.move_to_end(kept_as)
        self.counts.shared_tokens += shared


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def _changed(logits_V: Tensor, row: _Row) -> Tensor:
    """Apply what the request asks of single tokens."""
    request = row.request
    counts = row.counts if request.presence or request.frequency else {}
    if request.constraint is not None:
        logits_V = request.constraint.masked(logits_V)
    if not (request.bias or counts):
        return logits_V
    logits_V = logits_V.clone()
    for token_id, value in request.bias.items():
        logits_V[token_id] += value
    for token_id, count in counts.items():
        logits_V[token_id] -= request.presence + request.frequency * count
    return logits_V


def _score(logits_V: Tensor, token_id: int, top: int) -> TokenScore:
    """Return a token's log-probability, and the likeliest tokens with theirs."""
    logprobs_V = torch.log_softmax(logits_V.double(), -1)
    best = logprobs_V.topk(min(top, len(logprobs_V))) if top else None
    likeliest = zip(*(part.tolist() for part in best), strict=True) if best else ()
    return TokenScore(
        token_id,
        float(logprobs_V[token_id]),
        tuple((int(index), float(value)) for value, index in likeliest),
    )
