"""What probes ask models: answers and log-probabilities, behind one small interface.

``Asked`` is what a probe is handed; a test hands it one that answers from a table. The real one
(``Local``) loads its model at the first question that was not asked before: everything that a model
says is kept beside the findings, so a second look at a run loads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from danlu.diagnosis.kept import Kept
from danlu.generation.interface import Sampling
from danlu.records.record import TEXT_ROLE, Message

if TYPE_CHECKING:
    from danlu.evaluation.likelihood.forest import LikelihoodModel
    from danlu.generation.local import TransformersGenerator

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and how much there is, if that is known."""

ROUND = 32
"""Questions between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing that a model is asked.

    Attributes:
        messages: The conversation up to the answer; one message of role ``text`` is plain text to
            be continued, without a template.
        token_ids: The prompt as it was trained, where that is known; else it is rendered.
    """

    messages: tuple[Message, ...]
    token_ids: tuple[int, ...] = ()

    @classmethod
    def text(cls, text: str) -> Ask:
        """Ask for the continuation of plain text."""
        return cls((Message(TEXT_ROLE, text),))

    @classmethod
    def user(cls, text: str, *, system: str | None = None) -> Ask:
        """Ask a question, in a conversation of its own."""
        before = () if system is None else (Message("system", system),)
        return cls((*before, Message("user", text)))

    @property
    def is_text(self) -> bool:
        """Whether it is plain text to be continued."""
        return len(self.messages) == 1 and self.messages[0].role == TEXT_ROLE

    @property
    def question(self) -> str:
        """What a person would read: the last thing said."""
        return self.messages[-1].content or ""


class Reply(NamedTuple):
    """What a model answered.

    Attributes:
        text: Without special tokens.
        finished: Whether it ended by itself, not at the length limit.
        tokens: How long it is, its stop token included.
    """

    text: str
    finished: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and what might follow it, whose probability is wanted.

    Attributes:
        ask: The prompt; plain text alone, with nothing after it, is scored itself.
        text: What follows; in a conversation the whole answer, whose stop token counts.
        token_ids: The same as it was trained, stop token included, where that is known.
    """

    ask: Ask
    text: str
    token_ids: tuple[int, ...] = ()


class Likely(NamedTuple):
    """What a model gives a text.

    Attributes:
        logprob: In nats, of all its tokens.
        tokens: How many are predicted.
        greedy: Whether each of them is the likeliest there.
    """

    logprob: float
    tokens: int
    greedy: bool

    @property
    def nll(self) -> float:
        """Nats per token; 0 where no token is predicted."""
        return -self.logprob / self.tokens if self.tokens else 0.0


class Asked(Protocol):
    """A model that probes ask.

    Attributes:
        name: ``tuned``, ``base`` or what else it is in a report.
    """

    name: str

    def answer(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply | None]:
        """Answer; None for what cannot be asked, or no longer within the budget.

        Each prompt's answer depends on its place in no way: with a seed, equal prompts are
        answered alike. For several answers to one prompt give several seeds.
        """
        ...

    def likelihoods(self, pairs: Sequence[Pair]) -> list[Likely | None]:
        """Return what the model gives each text; None as of ``answer``."""
        ...


def greedy(max_new_tokens: int) -> Sampling:
    """Return the sampling of nearly all probes: the likeliest token each time."""
    return Sampling(max_new_tokens=max_new_tokens, greedy=True)


@dataclass(eq=False)
class Budget:
    """How long models may work; what was kept from before costs nothing.

    Attributes:
        seconds: None: as long as it takes.
        tokens: Of answers and of scored texts; None: as many as there are.
        spent_tokens: So far.
        left_out: Questions that it left no room for.
    """

    seconds: float | None = None
    tokens: int | None = None
    spent_tokens: int = 0
    left_out: int = 0
    _began: float | None = field(default=None, init=False)

    def allow(self, minutes: float | None = None, *, again: bool = False) -> None:
        """Set the clock anew.

        Args:
            minutes: How long models may work from the next question on.
            again: For another part of the same probe, so that what was left out still counts.
        """
        self.seconds = None if minutes is None else 60 * minutes
        self._began = None
        if not again:
            self.left_out = 0

    def begin(self) -> None:
        """Start the clock, at the first question."""
        if self._began is None:
            self._began = time.monotonic()

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be asked."""
        if self.tokens is not None and self.spent_tokens >= self.tokens:
            return True
        if self.seconds is None or self._began is None:
            return False
        return time.monotonic() - self._began >= self.seconds


class Ready(NamedTuple):
    """A loaded model, in the two forms in which it is asked.

    Attributes:
        generator: Answers.
        likelihood: Scores.
        last_id: The last token id that its tokenizer has; the tuned model may have more.
    """

    generator: TransformersGenerator
    likelihood: LikelihoodModel
    last_id: int


class Local:
    """A model in this process, loaded when it is first needed.

    Args:
        name: What it is called in reports.
        load: Loads it.
        stamp: Changes when what the model answers does; the key of what was kept.
        kept: Where its words are kept; None: nowhere.
        budget: How much it may work.
        progress: Told how far it is.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], TransformersGenerator],
        *,
        stamp: str,
        kept: Kept | None = None,
        budget: Budget | None = None,
        progress: Progress = lambda *_: None,
    ) -> None:
        self.name = name
        self._load = load
        self._stamp = stamp
        self._kept = kept
        self._budget = budget or Budget()
        self._progress = progress
        self._ready: Ready | None = None

    def ready(self) -> Ready:
        """Return the loaded model.

        Raises:
            ModelError: If it cannot be loaded.
        """
        if self._ready is None:
            from danlu.evaluation.likelihood.forest import LikelihoodModel

            self._progress(f"loading the {self.name} model", 0, None)
            generator = self._load()
            last_id = max(generator.tokenizer.get_vocab().values())
            self._ready = Ready(generator, LikelihoodModel(generator), last_id)
        return self._ready

    def release(self) -> None:
        """Give back the memory; it is loaded anew when it is needed again."""
        self._ready = None

    def answer(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply | None]:
        """Answer: what is known at once, the rest in batches, while the budget lasts."""
        how = {"max_new_tokens": sampling.max_new_tokens}
        if not sampling.greedy:
            how |= {name: getattr(sampling, name) for name in ("temperature", "top_p", "seed")}
        keys = [self._key("answer", ask, how) for ask in asks]
        found: list[Reply | None] = [
            Reply(row["text"], row["finished"], row["tokens"]) if row else None
            for row in map(self._known, keys)
        ]
        missing = list({keys[k]: k for k, one in enumerate(found) if one is None}.values())
        for some in self._rounds(missing, f"asking the {self.name} model", len(asks)):
            prompts = {k: ids for k in some if (ids := self._prompt(asks[k]))}
            places = list(prompts)
            replies = self.ready().generator.generate_ids(
                list(prompts.values()), sampling, seeds=[sampling.seed] * len(prompts)
            )
            for k, one in zip(places, replies, strict=True):
                found[k] = reply = Reply(one.text, one.finished, len(one.token_ids))
                self._keep(keys[k], reply._asdict(), reply.tokens)
        by_key = {keys[k]: found[k] for k in missing}
        return [one or by_key.get(key) for one, key in zip(found, keys, strict=True)]

    def likelihoods(self, pairs: Sequence[Pair]) -> list[Likely | None]:
        """Score: what is known at once, the rest in batches, while the budget lasts."""
        keys = [
            self._key("likely", pair.ask, {"text": pair.text, "ids": pair.token_ids})
            for pair in pairs
        ]
        found: list[Likely | None] = [
            Likely(row["logprob"], row["tokens"], row["greedy"]) if row else None
            for row in map(self._known, keys)
        ]
        missing = list({keys[k]: k for k, one in enumerate(found) if one is None}.values())
        for some in self._rounds(missing, f"scoring by the {self.name} model", len(pairs)):
            for k, one in zip(some, self._scored([pairs[k] for k in some]), strict=True):
                if one is not None:
                    self._keep(keys[k], one._asdict(), one.tokens)
                found[k] = one
        by_key = {keys[k]: found[k] for k in missing}
        return [one or by_key.get(key) for one, key in zip(found, keys, strict=True)]

    # Inner -------------------------------------------------------------------------------

    def _rounds(self, missing: Sequence[int], stage: str, total: int) -> Iterator[list[int]]:
        """Yield what is to be done next, until all is done or the budget is spent."""
        done = total - len(missing)
        for start in range(0, len(missing), ROUND):
            if self._budget.is_spent:
                self._budget.left_out += len(missing) - start
                return
            self._budget.begin()
            self._progress(stage, done + start, total)
            yield list(missing[start : start + ROUND])
        self._progress(stage, total, total)

    def _prompt(self, ask: Ask) -> list[int] | None:
        """Return a prompt's tokens; None where this model cannot take them."""
        generator, _, last_id = self.ready()
        if ask.token_ids:
            ids = list(ask.token_ids)
            if max(ids) > last_id:
                return None  # a token that only the tuned model has
        elif ask.is_text:
            ids = self._plain(ask.question)
        else:
            ids = generator.encode(ask.messages)
        limit = generator.context_tokens
        return ids if ids and (limit is None or len(ids) < limit) else None

    def _plain(self, text: str) -> list[int]:
        """Encode plain text with the tokens that pre-training began a document with."""
        tokenizer: Any = self.ready().generator.tokenizer
        ids: list[int] = tokenizer(text)["input_ids"]
        ends = ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token)
        return ids[:-1] if ends else ids

    def _scored(self, pairs: Sequence[Pair]) -> list[Likely | None]:
        from danlu.evaluation.likelihood.forest import Wanted
        from danlu.sequences.encode import encode_completion

        generator, scoring, last_id = self.ready()
        found: list[Likely | None] = [None] * len(pairs)
        tokens: dict[int, tuple[list[int], list[int]]] = {}
        texts: dict[int, Wanted] = {}
        limit = generator.context_tokens
        for k, pair in enumerate(pairs):
            if pair.ask.is_text and not pair.text and not pair.token_ids:
                texts[k] = Wanted((Message(TEXT_ROLE, ""),), pair.ask.question)
            elif not pair.ask.is_text and not pair.token_ids:
                texts[k] = Wanted(pair.ask.messages, pair.text)
            elif before := self._prompt(pair.ask):
                after = list(pair.token_ids) or encode_completion(generator.tokenizer, pair.text)
                fits = limit is None or len(before) + len(after) <= limit
                if after and fits and max(after) <= last_id:
                    tokens[k] = (before, after)
        of_tokens = scoring.after_tokens(list(tokens.values())) if tokens else []
        of_texts = scoring.logprobs(list(texts.values())) if texts else []
        for places, outcome in ((tokens, of_tokens), (texts, of_texts)):
            for k, one in zip(places, outcome, strict=True):
                if one.logprob is not None:
                    found[k] = Likely(one.logprob, one.tokens, one.greedy)
        return found

    def _key(self, kind: str, ask: Ask, how: Mapping[str, Any]) -> str:
        said = [] if ask.token_ids else [message.as_dict() for message in ask.messages]
        return Kept.key([self._stamp, kind, said, ask.token_ids, how])

    def _known(self, key: str) -> dict[str, Any] | None:
        return None if self._kept is None else self._kept.get(key)

    def _keep(self, key: str, row: Mapping[str, Any], tokens: int) -> None:
        self._budget.spent_tokens += tokens
        if self._kept is not None:
            self._kept.put(key, row)
