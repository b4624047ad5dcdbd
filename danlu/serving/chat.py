"""``Chat``: a model, the conversation so far, and the next answer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from danlu.errors import DanluError
from danlu.generation.interface import Conversation, Sampling
from danlu.records.record import Message


class StreamingGenerator(Protocol):
    """A generator that can give an answer piece by piece."""

    def stream(self, conversation: Conversation, sampling: Sampling) -> Generator[str, None, None]:
        """Yield pieces of text that join to the answer."""
        ...


def load(
    run_or_model: str | Path,
    *,
    template: str | None = None,
    system: str | None = None,
    sampling: Sampling | None = None,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Chat:
    """Load a model, or what a run has made, to talk to it.

    Args:
        run_or_model: A run directory, a folder, a GGUF file, a hub id or ``builtin:NAME``.
        template: Chat template, where the model has none of its own: a shipped name or a file.
        system: System message; none leaves it to the template.
        sampling: How answers are drawn; None for the defaults.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        trust_remote_code: Run Python code that comes with the model.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If the model is not there or cannot be read.
        TemplateError: If it has no chat template and none was given, or renders the golden prompts
            that lie beside it otherwise than in training.

    Example:
        ``danlu.load("runs/quickstart").chat("Who are you?")``
    """
    from danlu.generation.load import load_generator
    from danlu.models.source import saved_folder
    from danlu.sequences.golden import check_golden

    generator = load_generator(
        run_or_model,
        template=template,
        device=device,
        precision=precision,
        trust_remote_code=trust_remote_code,
        progress=progress,
    )
    if template is None:
        check_golden(saved_folder(run_or_model), generator.tokenizer, generator.template)
    return Chat(generator, system=system, sampling=sampling)


class Chat:
    """A conversation with a model.

    Args:
        generator: What answers.
        system: System message; None for none.
        sampling: How answers are drawn; None for the defaults. The seed is that of the first
            answer; each further one adds one.

    Attributes:
        history: The messages so far, without the system message.
    """

    def __init__(
        self,
        generator: StreamingGenerator,
        *,
        system: str | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.generator = generator
        self.system = system
        self.sampling = sampling or Sampling()
        self.history: list[Message] = []
        self._drawn = 0

    def chat(self, text: str) -> str:
        """Say something and return the answer; both join the history."""
        return "".join(self.stream(text))

    def stream(self, text: str) -> Generator[str, None, None]:
        """Say something and yield the answer piece by piece.

        What was said and what was yielded join the history, also when the iterator is closed
        half-way; if it fails or is closed before the first piece, the history stays as it was.
        """
        self.history.append(Message("user", text))
        yield from self._answer()

    def retry(self) -> Generator[str, None, None]:
        """Draw the last answer anew, with another seed.

        Raises:
            DanluError: If nothing has been said yet.
        """
        said = self._last_user()
        if said is None:
            raise DanluError("there is no answer to draw again: nothing has been said yet.")
        del self.history[said + 1 :]
        yield from self._answer()

    def undo(self) -> bool:
        """Take back what was said last, with its answer; False if there is nothing."""
        said = self._last_user()
        if said is None:
            return False
        del self.history[said:]
        return True

    def reset(self) -> None:
        """Forget the conversation; the system message stays."""
        self.history.clear()

    def fork(self) -> Chat:
        """Return the same conversation, which goes on by itself."""
        other = Chat(self.generator, system=self.system, sampling=self.sampling)
        other.history = list(self.history)
        other._drawn = self._drawn
        return other

    @property
    def messages(self) -> list[Message]:
        """The conversation as the model sees it, system message first."""
        system = [Message("system", self.system)] if self.system is not None else []
        return [*system, *self.history]

    def _answer(self) -> Generator[str, None, None]:
        sampling = replace(self.sampling, seed=self.sampling.seed + self._drawn)
        self._drawn += 1
        pieces: list[str] = []
        ended = False
        try:
            with closing(self.generator.stream(self.messages, sampling)) as stream:
                for piece in stream:
                    pieces.append(piece)
                    yield piece
            ended = True
        finally:
            if pieces or ended:
                self.history.append(Message("assistant", "".join(pieces)))
            else:
                self.undo()

    def _last_user(self) -> int | None:
        said = [place for place, message in enumerate(self.history) if message.role == "user"]
        return said[-1] if said else None
