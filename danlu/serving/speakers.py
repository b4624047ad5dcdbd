"""Who can be talked to in the terminal: models in this process, and models behind an address."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from danlu.errors import ModelError
from danlu.generation.interface import Conversation, Sampling
from danlu.generation.requests import Piece, Request
from danlu.serving.chat import StreamingGenerator
from danlu.serving.endpoint import endpoint_models, is_address

if TYPE_CHECKING:
    from danlu.serving.server.origin import Wanted
    from danlu.serving.server.served import Served


def _nothing() -> None:
    """Close nothing."""


@dataclass(frozen=True)
class Speaker:
    """Somebody to talk to.

    Attributes:
        name: What it is called.
        generator: What answers.
        run: The run directory it comes from; empty if it is not of a run.
        data_version: Id of the dataset version it was tuned on; empty if none is known.
        close: Ends it.
    """

    name: str
    generator: StreamingGenerator
    run: str = ""
    data_version: str = ""
    close: Callable[[], None] = _nothing


class EngineGenerator:
    """Streams answers from the engine that a server would use.

    So an answer is the one that ``danlu serve`` gives, and what a question has in common with
    the conversation before it is not computed again.

    Args:
        served: The model, with its engine.
    """

    def __init__(self, served: Served) -> None:
        self._served = served

    def stream(self, conversation: Conversation, sampling: Sampling) -> Generator[str, None, None]:
        """Yield an answer piece by piece; closing the generator stops the work.

        Raises:
            ModelError: If the conversation is too long, or cannot be computed.
        """
        served = self._served
        prompt = served.generator.encode(conversation)
        budget = served.generator.budget(prompt, sampling)
        pieces: SimpleQueue[Piece] = SimpleQueue()
        ticket = served.engine.submit(
            Request(
                prompt,
                replace(sampling, max_new_tokens=budget),
                pieces.put,
                adapter=served.adapter,
                stop_ids=served.generator.stop_ids,
            )
        )
        try:
            while True:
                piece = pieces.get()
                if piece.text:
                    yield piece.text
                if piece.finish == "error":
                    raise ModelError(f"the answer could not be computed: {piece.error}")
                if piece.finish:
                    return
        finally:
            ticket.cancel()


def load_speakers(
    names: Sequence[str],
    *,
    template: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
    key: str | None = None,
) -> list[list[Speaker]]:
    """Load models, LoRA adapters of one base together, and look up what addresses offer.

    Args:
        names: Each a run, a folder, a GGUF file, a hub id, ``builtin:NAME`` or the address of an
            OpenAI-compatible server; ``NAME=`` before it names it, or one of the server's models.
        template: Chat template, where a model has none of its own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        trust_remote_code: Run Python code that comes with a model.
        progress: Show a bar on stderr while a model is converted for the first time.
        key: For servers that ask for one.

    Returns:
        For each name, who answers to it: one, or a server's models.

    Raises:
        DanluError: If one is not there, cannot be read or asked, or two have the same name; or if
            a model renders its golden prompts otherwise than in training.
    """
    found: dict[str, list[Speaker]] = {}
    local = [name for name in dict.fromkeys(names) if not is_address(name)]
    for name in dict.fromkeys(names):
        if name not in local:
            found[name] = [
                Speaker(one.model, one, close=one.close) for one in endpoint_models(name, key)
            ]
    if local:
        from danlu.serving.server.origin import Wanted
        from danlu.serving.server.served import load_served

        wanted = [_free_name(Wanted.of(name), local) for name in local]
        called = [one.name for one in wanted]
        for name in called:
            if called.count(name) > 1:
                raise ModelError("two models have this name; give one another.", where=name)
        served = load_served(
            wanted,
            template=template,
            device=device,
            precision=precision,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        by_name = {one.name: one for one in served}
        for name, one in zip(local, wanted, strict=True):
            found[name] = [_speaker(by_name[one.name])]
    return [found[name] for name in names]


def _free_name(wanted: Wanted, among: Sequence[str]) -> Wanted:
    """Call two runs of one name by their whole paths: in a terminal nobody minds the length."""
    from danlu.serving.server.origin import Wanted

    same = [one for one in among if Wanted.of(one).name == wanted.name]
    given = any(one == f"{wanted.name}={wanted.path}" for one in same)
    return wanted if len(same) < 2 or given else Wanted(wanted.path, wanted.path)


def _speaker(served: Served) -> Speaker:
    if served.encodes:
        served.engine.close()
        raise ModelError(
            "is an encoder, and answers nothing: `danlu classify` asks it.", where=served.name
        )
    return Speaker(
        served.name,
        EngineGenerator(served),
        served.run or "",
        served.data_version,
        close=served.engine.close,
    )
