"""All conversations of one studio, and the models that they can be had with."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from danlu.errors import DanluError, ModelError
from danlu.generation.interface import Conversation, Sampling
from danlu.studio.chat.pool import Models
from danlu.studio.workspace import NotThereError, Workspace

if TYPE_CHECKING:
    from danlu.serving.speakers import Speaker
    from danlu.studio.chat.talk import Talk

KEPT = 50
KEY_VARIABLE = "OPENAI_API_KEY"
"""Where the key for addresses is, as for ``danlu chat``."""


@dataclass(frozen=True)
class PoolGenerator:
    """Answers from the pool, whichever process holds the model.

    Attributes:
        models: The pool.
        name: Of the model.
        group: The models that are loaded with it.
    """

    models: Models
    name: str
    group: tuple[str, ...]

    def stream(self, conversation: Conversation, sampling: Sampling) -> Generator[str, None, None]:
        """Yield an answer piece by piece; closing the generator stops the work.

        Raises:
            ModelError: If the model cannot be loaded, or cannot answer.
        """
        yield from self.models.stream(self.name, self.group, conversation, sampling)


class Talks:
    """The conversations, newest last, and the models in memory.

    Attributes:
        models: In memory.
        saving: Held while a record is saved.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.models = Models(workspace.root)
        self.saving = threading.Lock()
        self._workspace = workspace
        self._talks: dict[str, Talk] = {}

    def begin(self, names: Sequence[str]) -> Talk:
        """Begin a conversation; its models are loaded from now on.

        Args:
            names: One or two: runs, built-in models, folders and files of the workspace, or
                addresses of servers (``MODEL=URL``).

        Raises:
            DanluError: If one is not there, or a server cannot be asked or has several models.
        """
        from danlu.serving.endpoint import is_address
        from danlu.studio.chat.talk import Talk

        if not 1 <= len(names) <= 2:
            raise DanluError("choose one model, or two.", where=", ".join(names))
        names = [one if is_address(one) else self._local(one) for one in names]
        if len(set(names)) < len(names):
            raise DanluError("choose another model to stand beside it.", where=names[0])
        local = tuple(one for one in names if not is_address(one))
        speakers = [
            self._server(one) if is_address(one) else self._speaker(one, local) for one in names
        ]
        talk = Talk(speakers, names, self._workspace.root)
        self.load(talk)
        self.keep(talk)
        return talk

    def keep(self, talk: Talk) -> None:
        """Keep a conversation for pages to show; the oldest goes when there are many."""
        self._talks[talk.id] = talk
        self._forget()

    def load(self, talk: Talk) -> None:
        """Load a conversation's models again, where they are not in memory.

        Raises:
            ModelError: If those that would have to go are answering.
        """
        from danlu.serving.endpoint import is_address

        local = [one for one in talk.models if not is_address(one)]
        if local:
            self.models.wake(local)

    def get(self, name: str) -> Talk:
        """Return a conversation.

        Raises:
            RunError: If there is none.
        """
        if name not in self._talks:
            raise NotThereError(
                "this conversation has ended with the studio it was led in.", where=name
            )
        return self._talks[name]

    def all(self) -> list[Talk]:
        """Return those in which something was said, newest first."""
        return [one for one in reversed(self._talks.values()) if one.exchanges]

    def close(self) -> None:
        """End the processes of the models."""
        self.models.close()

    def _local(self, given: str) -> str:
        """Return the name of a model of this machine, a path from the workspace.

        Raises:
            DanluError: If it is not there, or not of the workspace.
        """
        from danlu.models.builtin import converted_builtins
        from danlu.models.source import BUILTIN_PREFIX, builtin_named

        if given.startswith(BUILTIN_PREFIX):
            if not converted_builtins()[builtin_named(given).name]:
                raise ModelError(
                    f"is not converted yet: `danlu chat {given}` does so, once.", where=given
                )
            return given
        root = self._workspace.root
        if self._workspace.has_run(given):  # its folder may be named as one outside
            path = self._workspace.run(given).path
            return str(path.relative_to(root) if path.is_relative_to(root) else path)
        path = self._workspace.inside(given)
        if not given or not path.exists():
            raise ModelError(
                "is no run, model folder or GGUF file of the workspace, no built-in model and no "
                "address of a server.",
                where=given,
            )
        return str(path.relative_to(root))

    def _speaker(self, name: str, group: tuple[str, ...]) -> Speaker:
        from danlu.models.source import BUILTIN_PREFIX, resolve, run_model
        from danlu.serving.server.origin import Origin, Wanted
        from danlu.serving.speakers import Speaker

        builtin = name.startswith(BUILTIN_PREFIX)
        path = name if builtin else str(self._workspace.root / name)
        source = resolve(path)
        if source.kind == "run" and source.path is not None:
            run_model(source.path)
        own = Wanted.of(name).name
        same = [one for one in group if Wanted.of(one).name == own]
        return Speaker(
            own if len(same) < 2 else name,
            PoolGenerator(self.models, name, group),
            name if source.kind == "run" else "",
            Origin.of(path).data_version,
        )

    def _server(self, name: str) -> Speaker:
        from danlu.serving.speakers import load_speakers

        [found] = load_speakers([name], key=os.environ.get(KEY_VARIABLE))
        if len(found) > 1:
            offered = ", ".join(f"{one.name}={name}" for one in found)
            raise ModelError(f"the server has several models; name one: {offered}", where=name)
        return found[0]

    def _forget(self) -> None:
        old = [name for name, talk in self._talks.items() if not talk.going]
        for name in old[: max(0, len(self._talks) - KEPT)]:
            for seat in self._talks.pop(name).session.seats:
                seat.speaker.close()
