"""Which engine answers, and everything that has to be up before the first request."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from danlu.errors import DanluError, ModelError, TemplateError, did_you_mean
from danlu.models.source import resolve, saved_folder
from danlu.sequences.golden import read_golden
from danlu.serving.engines.llama_server import CONTEXT_TOKENS, LlamaSettings, start_llama
from danlu.serving.engines.vllm import start_vllm, vllm_plan, vllm_program
from danlu.serving.gateway.routed import Routed, Upstream, routed_models
from danlu.serving.server.origin import Origin, Wanted
from danlu.serving.server.protocol import Pooling
from danlu.serving.verify import verify_served

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.serving.server.served import Served

EngineName = Literal["auto", "danlu", "llama-cpp", "vllm"]
ENGINES: tuple[EngineName, ...] = ("auto", "danlu", "llama-cpp", "vllm")
ROWS = 16

Say = Callable[[str], None]


@dataclass(frozen=True)
class EngineSettings:
    """What answers, and how it is started.

    Attributes:
        engine: One of ``ENGINES``.
        upstreams: Servers that run already, in place of an engine.
        rows: Answers computed at a time; None leaves it to vLLM, and is 16 for others.
        context_tokens: Of llama.cpp all chats' together, of vLLM the longest chat; None for the
            engine's default.
        seconds: How long llama.cpp or vLLM may take to start.
        options: The user's own, for ``vllm serve``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        template: Chat template, where a model has none of its own.
        longest: Longest answer that may be asked for; None leaves it to the engine.
        pooling: Of embeddings; None for the model's own, or the mean.
        trust_remote_code: Run Python code that comes with a model.
    """

    engine: str = "auto"
    upstreams: tuple[Upstream, ...] = ()
    rows: int | None = None
    context_tokens: int | None = None
    seconds: float = 600.0
    options: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    template: str | None = None
    longest: int | None = None
    pooling: Pooling | None = None
    trust_remote_code: bool = False


def pick_engine(name: str, wanted: Sequence[Wanted]) -> EngineName:
    """Decide which engine answers: ``auto`` is llama.cpp for GGUF files, where it is installed.

    Raises:
        DanluError: If there is none of this name, or it cannot answer for what is wanted.
    """
    if name not in ENGINES:
        raise DanluError(
            f"there is no engine {name!r}; there are {', '.join(ENGINES)}."
            f"{did_you_mean(name, ENGINES)}",
            where="--engine",
        )
    files = [resolve(one.path).kind == "gguf" for one in wanted]
    if name == "auto":
        llama = all(files) and importlib.util.find_spec("xllamacpp") is not None
        return "llama-cpp" if llama else "danlu"
    if name == "llama-cpp":
        for one, is_file in zip(wanted, files, strict=True):
            if not is_file:
                raise ModelError(
                    "llama.cpp reads GGUF files: write one by `danlu export RUN --to FOLDER --gguf "
                    "q8_0`, and serve that.",
                    where=one.name,
                )
    if name == "vllm":
        vllm_program()
    return cast("EngineName", name)


@contextmanager
def started(
    wanted: Sequence[Wanted], settings: EngineSettings, say: Say
) -> Iterator[tuple[list[Served], list[Routed]]]:
    """Give what answers: models in this process, and models behind other servers.

    Every model is held to its golden prompts. An engine that was started ends after.

    Args:
        wanted: The models; none means all of the upstreams.
        settings: What answers, and how.
        say: Told what the user should know.

    Raises:
        DanluError: If an engine is not installed, cannot take a model, or does not come up.
        TemplateError: If a model would be asked otherwise than it was asked in training.
    """
    _must_be_different(wanted)
    if settings.upstreams:
        if settings.engine != "auto":
            raise DanluError("the upstream is the engine; leave this out.", where="--engine")
        _must_be_left_out(settings, "an upstream", *_OURS, *_ENGINES, *_LOADED, *_COMPUTED)
        yield [], behind(settings.upstreams, wanted, settings.longest, say)
        return
    if not wanted:
        raise DanluError("name a model or a run to serve, or give --upstream URL.")
    engine = pick_engine(settings.engine, wanted)
    unknown = {
        "danlu": _ENGINES,
        "vllm": (*_OURS, "device"),
        "llama-cpp": (*_OURS, *_LOADED, "options"),
    }
    _must_be_left_out(settings, f"engine {engine}", *unknown[engine])
    with ExitStack() as stack:
        if engine == "danlu":
            yield _in_process(wanted, settings), []
        elif engine == "vllm":
            yield [], _vllm(stack, wanted, settings, say)
        else:
            yield [], [_llama(stack, one, settings, say) for one in wanted]


def behind(
    upstreams: Sequence[Upstream], wanted: Sequence[Wanted], longest: int | None, say: Say
) -> list[Routed]:
    """Return models of servers that run already, held to the golden prompts of their runs.

    Args:
        upstreams: The servers.
        wanted: Runs by the name that their server has for each; none means all that there are.
        longest: Longest answer that may be asked for.
        say: Told what the user should know.

    Raises:
        DanluError: If one cannot be asked, or none has what is wanted.
        TemplateError: If one would ask a model otherwise than it was asked in training.
    """
    named = [(one.name, Origin.of(one.path)) for one in wanted]
    routed = routed_models(upstreams, named, longest=longest)
    if not wanted:
        return routed
    return [held_to_golden(a, b.path, say) for a, b in zip(routed, wanted, strict=True)]


def held_to_golden(model: Routed, path: str, say: Say) -> Routed:
    """Replay a model's golden prompts through the server that answers for it.

    A server that shows tools otherwise is not asked with tools; all else must be the same.

    Raises:
        TemplateError: At the first difference, saying where it is.
    """
    folder = saved_folder(path)
    folder = folder.parent if folder.is_file() else folder
    if not read_golden(folder)[0]:
        say(f"{model.name} has no golden prompts, so its engine is not held to them.")
        return model
    tokenizer = cast("PreTrainedTokenizerBase", _Tokenizer(path))
    upstream = model.upstream
    found = verify_served(upstream.root, folder, tokenizer, model=model.theirs, key=upstream.key)
    for one in found:
        if one.difference and not one.tools:
            raise TemplateError(
                f"its engine would not ask it as it was trained: {one.difference}",
                where=model.name,
            )
    differences = [one.difference for one in found if one.difference]
    if not differences:
        return model
    text = f"the engine behind {model.name} does not show tools as in training: {differences[0]}"
    say(f"Requests with tools are refused: {text}")
    return replace(model, refuses_tools=f"{text} Leave tools out.")


def _must_be_different(wanted: Sequence[Wanted]) -> None:
    names = [one.name for one in wanted]
    for name in names:
        if names.count(name) > 1:
            raise ModelError(
                "two models have this name; give one another, as in other=PATH.", where=name
            )


_OURS = ("pooling",)
_ENGINES = ("context_tokens", "options")
_LOADED = ("template", "precision", "trust_remote_code")
_COMPUTED = ("device", "rows")
_WRITTEN = {
    "context_tokens": "--context",
    "options": "--engine-option",
    "rows": "--side-by-side",
}


def _must_be_left_out(settings: EngineSettings, what: str, *names: str) -> None:
    """Refuse settings that would have no effect.

    Raises:
        DanluError: If one is given.
    """
    plain = EngineSettings()
    for name in names:
        if getattr(settings, name) != getattr(plain, name):
            option = _WRITTEN.get(name, f"--{name.replace('_', '-')}")
            raise DanluError(f"{what} takes no such option; leave it out.", where=option)


def _in_process(wanted: Sequence[Wanted], settings: EngineSettings) -> list[Served]:
    from danlu.generation.engine import EngineLimits
    from danlu.serving.server.served import load_served

    served = load_served(
        wanted,
        template=settings.template,
        device=settings.device,
        precision=settings.precision,
        limits=EngineLimits(rows=settings.rows or ROWS),
        pooling=settings.pooling,
        trust_remote_code=settings.trust_remote_code,
    )
    for one in served:
        if not one.encodes:
            one.renderer.begin()  # so that the first request does not wait for it
    return served


def _vllm(
    stack: ExitStack, wanted: Sequence[Wanted], settings: EngineSettings, say: Say
) -> list[Routed]:
    plan = vllm_plan(wanted, settings.template)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="danlu-vllm-")))
    options = list(settings.options)
    if settings.context_tokens is not None:
        options = ["--max-model-len", str(settings.context_tokens), *options]
    if settings.rows is not None:
        options = ["--max-num-seqs", str(settings.rows), *options]
    if settings.precision != "auto":
        options = ["--dtype", settings.precision, *options]
    if settings.trust_remote_code:
        options = ["--trust-remote-code", *options]
    child, upstream = start_vllm(plan, folder, settings.seconds, options)
    stack.enter_context(child)
    found = behind([upstream], wanted, settings.longest, say)
    return [replace(one, alive=lambda: child.alive) for one in found]


def _llama(stack: ExitStack, wanted: Wanted, settings: EngineSettings, say: Say) -> Routed:
    file = saved_folder(wanted.path)
    child, upstream = start_llama(
        LlamaSettings(
            file=str(file),
            name=wanted.name,
            rows=settings.rows or ROWS,
            context_tokens=settings.context_tokens or CONTEXT_TOKENS,
            threads=_threads(),
            gpu=settings.device != "cpu",
        ),
        settings.seconds,
    )
    stack.enter_context(child)
    [model] = behind([upstream], [wanted], settings.longest, say)
    return replace(model, alive=lambda: child.alive)


def _threads() -> int:
    """Return how many threads to compute with: as many as PyTorch would."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Tokenizer:
    """A tokenizer that is loaded only to write out tokens that differ."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def _own(self) -> Any:
        from danlu.models.load import load_tokenizer

        return load_tokenizer(self._path)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        return str(self._own.decode(token_ids))
