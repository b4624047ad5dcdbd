"""What a server offers: models by name, each with its template, its engine and its origin."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from danlu.generation.constrain import Grammars
from danlu.generation.engine import Engine, EngineLimits
from danlu.generation.interface import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.generation.rows import OneByOne, SideBySide, use_rows_attention
from danlu.models.adapters import must_be_safetensors
from danlu.models.encoders import is_encoder
from danlu.models.load import load_model, load_tokenizer, pick_device, pick_dtype
from danlu.models.quiet import quiet
from danlu.models.readout import Readout, has_readout
from danlu.models.source import adapter_base, read_json, resolve, run_model, saved_folder
from danlu.models.token_rows import ROWS_FILE
from danlu.sequences.golden import check_golden
from danlu.sequences.template import ChatTemplate
from danlu.serving.server.calls import CallForm, call_form
from danlu.serving.server.encoder import EncoderEngine, EncoderParts
from danlu.serving.server.origin import Origin, Wanted
from danlu.serving.server.protocol import Pooling
from danlu.serving.server.renderer import Renderer, renderer_of


@dataclass(frozen=True)
class Served:
    """One model that clients can name.

    Attributes:
        name: What clients call it.
        generator: Its tokenizer, template and limits.
        engine: Answers for it; several adapters of one base share one.
        adapter: Which of the engine's adapters it is; None without any.
        calls: How its template writes tool calls; None if it does not.
        sampling: What holds where a request does not say.
        run: The run directory it comes from; None if it is not of a run.
        data_version: Id of the dataset version it was tuned on; empty if none is known.
        created: When its files were made, in seconds since 1970.
        pooling: How embeddings are made of its hidden states.
        encodes: Whether it is an encoder, which answers nothing.
    """

    name: str
    generator: TransformersGenerator
    engine: Engine
    adapter: str | None = None
    calls: CallForm | None = None
    sampling: Sampling = field(default_factory=Sampling)
    run: str | None = None
    data_version: str = ""
    created: int = 0
    pooling: Pooling = "mean"
    encodes: bool = False

    @cached_property
    def grammars(self) -> Grammars:
        """Makes the forms that answers can be held to."""
        return Grammars(self.generator.tokenizer, sorted(self.generator.stop_ids))

    @cached_property
    def renderer(self) -> Renderer:
        """Renders its chat template, in a process beside."""
        return renderer_of(self.generator.template)

    @cached_property
    def preparing(self) -> ThreadPoolExecutor:
        """Where its requests become tokens: beside the event loop, and none in another's way.

        One thread, because a tokenizer is not for several.
        """
        return ThreadPoolExecutor(1, thread_name_prefix=f"danlu-{self.name}")


def load_served(
    wanted: Sequence[Wanted],
    *,
    template: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    limits: EngineLimits | None = None,
    pooling: Pooling | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> list[Served]:
    """Load models; LoRA adapters of one base share it.

    Args:
        wanted: What and under which names, all different.
        template: Chat template, where a model has none of its own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        limits: Of each engine.
        pooling: Of embeddings; None is the mean, of an encoder with a head that of its head.
        trust_remote_code: Run Python code that comes with a model.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If one is not there or cannot be read.
        TemplateError: If one has no chat template, or renders its golden prompts otherwise.
    """
    names = [one.name for one in wanted]
    place = pick_device(device)
    options: dict[str, Any] = {
        "dtype": pick_dtype(precision, place),
        "device": place,
        "trust_remote_code": trust_remote_code,
        "progress": progress,
    }
    served: list[Served] = []
    for base, together in _by_base(wanted).items():
        if base is None or len(together) == 1:
            for one in together:
                model = load_model(one.path, **options)
                if is_encoder(model.config):
                    served.append(_encoder(model, one, limits))
                    continue
                served += _serve(model, {None: one}, template, limits)
        else:
            model = _with_adapters(base, together, options)
            served += _serve(model, {one.name: one for one in together}, template, limits)
    if pooling is not None:
        served = [replace(one, pooling=pooling) for one in served]
    return sorted(served, key=lambda one: names.index(one.name))


def _encoder(model: Any, wanted: Wanted, limits: EngineLimits | None) -> Served:
    """Make an entry for an encoder, which has an engine of its own kind."""
    tokenizer = load_tokenizer(wanted.path, progress=False)
    folder, origin = saved_folder(wanted.path), Origin.of(wanted.path)
    engine = EncoderEngine(model.eval(), tokenizer.pad_token_id or 0, limits)
    return Served(
        name=wanted.name,
        # What of both is asked for embeddings, these have too.
        generator=cast("TransformersGenerator", EncoderParts(model, tokenizer)),
        engine=cast("Engine", engine),
        run=origin.run,
        data_version=origin.data_version,
        created=origin.created,
        pooling=Readout.load(folder).info.pooling if has_readout(folder) else "mean",
        encodes=True,
    )


def _serve(
    model: Any,
    wanted: dict[str | None, Wanted],
    template: str | None,
    limits: EngineLimits | None,
) -> list[Served]:
    """Make an engine for a model, and an entry for each of its adapters."""
    model.eval()
    backend = OneByOne(model) if use_rows_attention(model) else SideBySide(model)
    generators: dict[str | None, TransformersGenerator] = {}
    for adapter, one in wanted.items():
        tokenizer = load_tokenizer(one.path, progress=False)
        chat_template = ChatTemplate.load(tokenizer, template)
        if template is None:
            check_golden(saved_folder(one.path), tokenizer, chat_template)
        generators[adapter] = TransformersGenerator(model, tokenizer, chat_template)
    some = next(iter(generators.values()))
    choose = model.set_adapter if None not in wanted else None
    engine = Engine(backend, some.text_of, limits=limits, choose_adapter=choose)
    return [
        Served(
            name=one.name,
            generator=generators[adapter],
            engine=engine,
            adapter=adapter,
            calls=call_form(generators[adapter].template),
            sampling=_defaults(model),
            run=origin.run,
            data_version=origin.data_version,
            created=origin.created,
        )
        for adapter, one in wanted.items()
        for origin in [Origin.of(one.path)]
    ]


def _by_base(wanted: Sequence[Wanted]) -> dict[str | None, list[Wanted]]:
    """Gather LoRA adapters by the base they were trained on; all others under None."""
    found: dict[str | None, list[Wanted]] = {}
    for one in wanted:
        source = resolve(one.path)
        if source.kind == "run" and source.path is not None:
            source = run_model(source.path)
        base = None
        if source.kind == "adapter" and source.path is not None:
            about = read_json(source.path / "adapter_config.json")
            grows = (source.path / ROWS_FILE).exists()
            if about.get("peft_type") == "LORA" and not grows:
                base = adapter_base(source.path)
        found.setdefault(base, []).append(one)
    return found


def _with_adapters(base: str, together: Sequence[Wanted], options: dict[str, Any]) -> Any:
    """Load a base with several LoRA adapters beside one another."""
    from peft import PeftModel

    plain = load_model(base, **options)
    model: Any = None
    for one in together:
        folder = saved_folder(one.path)
        must_be_safetensors(folder)
        with quiet():
            if model is None:
                model = PeftModel.from_pretrained(plain, str(folder), adapter_name=one.name)
            else:
                model.load_adapter(str(folder), adapter_name=one.name)
    model.requires_grad_(False)
    return model.to(options["device"])


def _defaults(model: Any) -> Sampling:
    """Return how the model wants to be sampled, as its generation config says."""
    config = getattr(model, "generation_config", None)
    plain = Sampling()
    return Sampling(
        temperature=getattr(config, "temperature", None) or plain.temperature,
        top_p=getattr(config, "top_p", None) or plain.top_p,
    )
