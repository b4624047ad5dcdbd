"""``vllm serve`` for models of runs: with template, stop tokens and adapters of the training.

Its options, routes and rules for adapters were read in vLLM 0.33.0: ``engine/arg_utils.py``,
``entrypoints/common/cli_args.py``, ``entrypoints/serve/tokenize``, ``lora/peft_helper.py``,
``sampling_params.py`` (stop tokens of ``--generation-config``).
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from danlu.errors import DanluError, ModelError
from danlu.models.source import (
    ModelSource,
    adapter_base,
    adapter_quantisation,
    read_json,
    resolve,
    run_model,
)
from danlu.serving.engines.child import Child, free_port
from danlu.serving.gateway.routed import Upstream
from danlu.serving.server.origin import Wanted

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be told."""
BASE_NAME = "danlu-base"
"""What the base of adapters is called; clients cannot name it."""
CALL_PARSERS = {"<tool_call>": "hermes", "[TOOL_CALLS]": "mistral", "<|python_tag|>": "llama3_json"}
"""vLLM's readers of tool calls, by what a template writes before one."""
HEALTH_S = 2.0


@dataclass(frozen=True)
class VllmPlan:
    """What vLLM is started with.

    Attributes:
        model: Folder or hub id of the model, or of the adapters' base.
        names: What clients may name.
        adapters: Name and folder of each LoRA adapter; none for a whole model.
        max_rank: Of the adapters.
        template: The chat template's text.
        call_parser: Reads tool calls; empty if vLLM has none for this template.
        generation: Stop tokens and sampling, as in ``generation_config.json``.
    """

    model: str
    names: tuple[str, ...]
    adapters: tuple[tuple[str, str], ...]
    max_rank: int
    template: str
    call_parser: str
    generation: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write what vLLM reads from files."""
        (folder / "template.jinja").write_text(self.template, "utf-8")
        text = json.dumps(self.generation, indent=1)
        (folder / "generation_config.json").write_text(text, "utf-8")

    def arguments(self, folder: Path, port: int, options: Sequence[str] = ()) -> list[str]:
        """Return the arguments of ``vllm serve``.

        Args:
            folder: Of ``write``.
            port: Where it shall listen.
            options: The user's own, which come last and so hold.
        """
        found = ["serve", self.model, "--host", "127.0.0.1", "--port", str(port)]
        found += ["--served-model-name", BASE_NAME if self.adapters else self.names[0]]
        found += ["--chat-template", str(folder / "template.jinja")]
        found += ["--generation-config", str(folder)]
        if self.adapters:
            # As JSON: written as name=path, neither may have "=" or "," in it.
            modules = [json.dumps({"name": name, "path": place}) for name, place in self.adapters]
            found += ["--enable-lora", "--max-lora-rank", str(self.max_rank)]
            found += ["--max-loras", str(len(modules)), "--lora-modules", *modules]
        if self.call_parser:
            found += ["--enable-auto-tool-choice", "--tool-call-parser", self.call_parser]
        return [*found, *options]


def vllm_program() -> str:
    """Return where ``vllm`` is.

    Raises:
        DanluError: If it is not installed.
    """
    beside = Path(sys.executable).with_name("vllm")
    found = shutil.which("vllm") or (str(beside) if beside.is_file() else None)
    if found is None:
        hint = " (its package is, without its program)" if importlib.util.find_spec("vllm") else ""
        raise DanluError(
            f"vLLM is not installed{hint}: pip install vllm, in an environment of its own if its "
            "torch is another one, and put its vllm on the PATH; or leave --engine out.",
            where="--engine vllm",
        )
    return found


def vllm_plan(wanted: Sequence[Wanted], template: str | None = None) -> VllmPlan:
    """Work out what vLLM is to be started with.

    Args:
        wanted: A whole model, or LoRA adapters of one base.
        template: Chat template, where the models have none of their own.

    Raises:
        ModelError: If vLLM cannot compute this as it was trained.
    """
    sources = [_source(one) for one in wanted]
    whole = [one for one, source in zip(wanted, sources, strict=True) if source.kind != "adapter"]
    if whole and len(wanted) > 1:
        raise ModelError(
            "vLLM is started with one model, or with LoRA adapters of one base: serve this one "
            "by itself.",
            where=whole[0].name,
        )
    parts = [_prompting(one, template) for one in wanted]
    for one, part in zip(wanted, parts, strict=True):
        if part[:2] != parts[0][:2]:
            raise ModelError(
                f"has another chat template than {wanted[0].name}, and vLLM takes one for all: "
                "serve it by itself.",
                where=one.name,
            )
    text, stop_ids, parser = parts[0]
    adapters, rank, model = [], 0, sources[0]
    if not whole:
        bases = [resolve(adapter_base(_folder(source))) for source in sources]
        for one, source, base in zip(wanted, sources, bases, strict=True):
            if base.name != bases[0].name:
                raise ModelError(
                    f"its base is {base.name}, that of {wanted[0].name} is {bases[0].name}, and "
                    "vLLM has one base: serve it by itself.",
                    where=one.name,
                )
            rank = max(rank, _rank(one.name, _folder(source)))
            adapters.append((one.name, str(_folder(source))))
        model = bases[0]
    place = _place(model)
    return VllmPlan(
        model=place,
        names=tuple(one.name for one in wanted),
        adapters=tuple(adapters),
        max_rank=next((size for size in RANKS if size >= rank), RANKS[-1]),
        template=text,
        call_parser=parser,
        generation=_generation(place, stop_ids),
    )


def start_vllm(
    plan: VllmPlan, folder: Path, seconds: float, options: Sequence[str] = ()
) -> tuple[Child, Upstream]:
    """Start vLLM and wait until it answers.

    Args:
        plan: With what.
        folder: An empty one, as long as it runs.
        seconds: How long it may take to start.
        options: The user's own, for ``vllm serve``.

    Raises:
        DanluError: If it is not installed, or does not come up.
    """
    program = vllm_program()
    plan.write(folder)
    port, key = free_port(), f"sk-engine-{secrets.token_urlsafe(32)}"
    upstream = Upstream(f"http://127.0.0.1:{port}", key)
    child = Child.kept(
        "vLLM",
        [program, *plan.arguments(folder, port, options)],
        environment={"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1"},
    )
    try:
        with httpx2.Client(timeout=HEALTH_S, trust_env=False) as client:
            child.wait_until(lambda: _healthy(client, upstream), seconds)
        return child, upstream
    except BaseException:
        child.close()
        raise


def _healthy(client: httpx2.Client, upstream: Upstream) -> bool:
    try:
        return client.get(f"{upstream.root}/health").status_code == 200
    except httpx2.HTTPError:
        return False


def _source(wanted: Wanted) -> ModelSource:
    source = resolve(wanted.path)
    if source.kind == "run":
        assert source.path is not None
        source = run_model(source.path)
    if source.kind == "gguf":
        raise ModelError("GGUF files are for llama.cpp: --engine llama-cpp.", where=wanted.name)
    return source


def _folder(source: ModelSource) -> Path:
    assert source.path is not None
    return source.path


def _rank(name: str, folder: Path) -> int:
    """Return an adapter's rank.

    Raises:
        ModelError: If it is more than a plain LoRA adapter.
    """
    from danlu.models.rope import FILE as ROPE_FILE
    from danlu.models.token_rows import ROWS_FILE

    about = read_json(folder / "adapter_config.json")
    kind = about.get("peft_type")
    new_tokens = (folder / ROWS_FILE).exists() or bool(about.get("trainable_token_indices"))
    reasons = {
        f"a {kind} adapter": kind != "LORA",
        "DoRA": bool(about.get("use_dora")),
        "LoRA with biases": bool(about.get("lora_bias")) or about.get("bias", "none") != "none",
        "LoRA on repeated layers": bool(about.get("layer_replication")),
        # vLLM 0.33 reads these; earlier ones take one rank and one scale for all, and say nothing.
        "LoRA of several ranks or scales": bool(
            about.get("rank_pattern") or about.get("alpha_pattern")
        ),
        "whole layers beside LoRA": bool(about.get("modules_to_save")),
        "new tokens": new_tokens,
        "positions scaled otherwise": (folder / ROPE_FILE).exists(),
        "a quantised base": adapter_quantisation(folder) is not None,
        f"a rank above {RANKS[-1]}": int(about.get("r") or 0) > RANKS[-1],
    }
    for reason, holds in reasons.items():
        if holds:
            raise ModelError(
                f"this is {reason}, which vLLM does not take as an adapter: merge it by "
                f"`danlu export RUN --merge -o FOLDER`, and serve {name}=FOLDER.",
                where=name,
            )
    return int(about["r"])


def _prompting(wanted: Wanted, template: str | None) -> tuple[str, tuple[int, ...], str]:
    """Return a model's template, its stop tokens, and vLLM's reader of its tool calls."""
    from danlu.models.load import load_tokenizer
    from danlu.models.source import saved_folder
    from danlu.sequences.golden import check_golden
    from danlu.sequences.template import ChatTemplate
    from danlu.serving.server.calls import call_form

    tokenizer = load_tokenizer(wanted.path)
    found = ChatTemplate.load(tokenizer, template)
    if template is None:
        check_golden(saved_folder(wanted.path), tokenizer, found)
    form = call_form(found)
    return found.source, found.stop_ids, CALL_PARSERS.get(form.before, "") if form else ""


def _place(source: ModelSource) -> str:
    """Return what vLLM loads: a folder, or a hub id."""
    from danlu.models.builtin import converted_folder

    if source.kind in ("builtin", "gguf"):
        return str(converted_folder(source))
    return source.name


def _generation(place: str, stop_ids: Sequence[int]) -> dict[str, Any]:
    """Return generation settings: the model's own, and the stop tokens of the training too."""
    from transformers import GenerationConfig

    from danlu.generation.interface import Sampling

    try:
        own = GenerationConfig.from_pretrained(place)
    except OSError:  # it has none
        own = GenerationConfig()
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    plain = Sampling()
    return {
        "eos_token_id": sorted({*stop_ids, *(one for one in ends if one is not None)}),
        "temperature": own.temperature or plain.temperature,
        "top_p": own.top_p or plain.top_p,
    }
