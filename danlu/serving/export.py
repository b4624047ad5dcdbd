"""Export: what a run has made, as a folder that other programs read."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError, did_you_mean
from danlu.models.save import cast_weights, replaced_folder, save_weights
from danlu.models.source import ModelSource, adapter_base, resolve, run_model
from danlu.sequences.golden import GOLDEN_FILE
from danlu.serving.model_card import EvaluationTable, FormatRow, OwnFigures, model_card
from danlu.serving.perplexity import shipped_text, text_perplexity
from danlu.serving.proof import Proof, compared, golden_prompts, must_be_equal, outputs

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CARD = "README.md"
_SHARD_SIZE = re.compile(r"\d+(\.\d+)?[KMGT]i?B")

Score = Callable[[Any, str], float | None]
"""Scores a generator on a suite; the name is told while it does."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The folder.
        kind: ``model`` (a plain transformers folder) or ``adapter``.
        base: What an adapter has to be put on; None for a model.
        dtype: Number format of weights that were written anew; None where they were copied.
        quantised: ``int8`` or ``nf4``; None if not.
        files: How many files of weights there are.
        proof: That it is what the run is; None where files were copied.
        figures: Perplexity and suite score before.
        after: The same of what was written; None where it is the same model.
    """

    path: Path
    kind: str
    base: str | None = None
    dtype: str | None = None
    quantised: str | None = None
    files: int = 1
    proof: Proof | None = None
    figures: OwnFigures | None = None
    after: OwnFigures | None = None


@dataclass(frozen=True)
class Wishes:
    """How an export is to be written.

    Attributes:
        merge: Merge an adapter. It is done in float32, whatever the weights are written in.
        precision: Number format of weights; ``auto`` is that of the base as it is stored.
        quantise: ``int8`` or ``nf4``; None for neither.
        shard_size: Largest file of weights, such as ``2GB``; None leaves it to transformers.
        text: Plain text for the perplexity; None for the suite ``plain-text``.
        evaluations: Of the run, for the model card.
        suite: Name of the suite that ``score`` asks.
        score: Scores what is written and what it was made of; None does not.
        trust_remote_code: Run Python code that comes with the base.
        progress: Show a bar on stderr while a base is converted for the first time.

    Raises:
        ModelError: If one is not known, or they exclude each other.
    """

    merge: bool = False
    precision: str = "auto"
    quantise: str | None = None
    shard_size: str | None = None
    text: str | None = None
    evaluations: Sequence[EvaluationTable] = ()
    suite: str = ""
    score: Score | None = None
    trust_remote_code: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            hint = did_you_mean(self.precision, PRECISIONS)
            raise ModelError(f"there is no number format {self.precision!r} here.{hint}")
        if self.quantise is not None:
            from danlu.serving.quantised import check_format

            check_format(self.quantise)
        if self.shard_size is not None and not _SHARD_SIZE.fullmatch(self.shard_size):
            raise ModelError(
                f"{self.shard_size!r} is no size: write 500MB or 2GB.", where="--shard-size"
            )

    @property
    def loading(self) -> dict[str, Any]:
        """Return what loading is told."""
        return {"trust_remote_code": self.trust_remote_code, "progress": self.progress}

    @property
    def rewrites(self) -> bool:
        """Whether a model that lies there whole has to be written anew."""
        return self.quantise is not None or self.shard_size is not None or self.precision != "auto"


def export(run_or_adapter: str | Path, folder: str | Path, **wishes: Any) -> Exported:
    """Write what a run has made to a folder of its own, with a model card.

    An adapter is copied with its tokenizer, or merged into its base: a transformers folder with
    weights, tokenizer, chat template and generation config. A run that tuned the weights has such a
    folder already, and it is copied, or written anew in another number format or in shards. What is
    written anew is loaded again and compared; nothing is kept if it differs.

    Args:
        run_or_adapter: A run directory, or an adapter's folder.
        folder: Where to write; must not exist, or be empty.
        **wishes: Of ``Wishes``.

    Raises:
        ModelError: If there is nothing to export, the folder holds something, the adapter cannot be
            merged, or what was written is not what the run is.
        TemplateError: If the model would be asked otherwise than in training.
    """
    from danlu.models.load import load_tokenizer

    source = located(run_or_adapter)
    wanted = Wishes(**wishes)
    target = checked_target(source, folder)
    assert source.path is not None
    is_adapter = source.kind == "adapter"
    anew = wanted.rewrites or (is_adapter and wanted.merge)
    if not anew and (wanted.score is not None or wanted.text is not None):
        raise ModelError(
            "a copy is what it is a copy of, so nothing is measured: --suite and --text go with "
            "--merge, --quantise, --precision or --gguf."
        )
    if is_adapter and not (wanted.merge or wanted.quantise):
        if wanted.rewrites:
            raise ModelError(
                "an adapter is copied as it is; --precision and --shard-size go with --merge."
            )
        return _copy_adapter(source, target, wanted)
    tokenizer = load_tokenizer(source, **wanted.loading)
    prompts, template = golden_prompts(source.path, tokenizer)
    if anew:
        return _write_anew(source, target, wanted, tokenizer, prompts, template)
    with replaced_folder(target) as fresh:
        shutil.copytree(source.path, fresh, dirs_exist_ok=True)
        _write_card(fresh, source, wanted)
    return Exported(target, "model", files=_weight_files(target))


def checked_target(source: ModelSource, folder: str | Path) -> Path:
    """Return where to write, as an absolute path.

    Raises:
        ModelError: If something is there, or it lies in what is exported.
    """
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError("there is something here already: name a new folder.", where=str(folder))
    if source.path in (target, *target.parents):
        raise ModelError("lies in what is to be exported: name another folder.", where=str(folder))
    return target


def located(run_or_adapter: str | Path, *, also_models: bool = False) -> ModelSource:
    """Return the adapter, or the model of a run.

    Args:
        run_or_adapter: As given.
        also_models: Take a model's folder or a built-in model too.

    Raises:
        ModelError: If it is none of them, or the run has saved none.
    """
    source = resolve(run_or_adapter)
    if also_models and source.kind in ("folder", "builtin"):
        return source
    if source.kind == "run":
        assert source.path is not None
        return run_model(source.path)
    if source.kind == "adapter":
        return source
    if also_models:
        # A name that is no place here is taken for a hub id elsewhere.
        problem = "there is no such folder here" if source.kind == "hub" else "is no such model"
        raise ModelError(
            f"{problem}: give a run directory, an adapter's folder, a model's folder or "
            "builtin:NAME.",
            where=str(run_or_adapter),
        )
    raise ModelError(
        "is no run and no adapter, so there is nothing to export: give a run directory.",
        where=str(run_or_adapter),
    )


def _copy_adapter(source: ModelSource, target: Path, wanted: Wishes) -> Exported:
    from danlu.models.load import has_tokenizer, load_tokenizer

    assert source.path is not None
    tokenizer = load_tokenizer(source.path, trust_remote_code=wanted.trust_remote_code)
    golden_prompts(source.path, tokenizer)
    with replaced_folder(target) as fresh:
        shutil.copytree(source.path, fresh, dirs_exist_ok=True)
        if not has_tokenizer(source.path):
            tokenizer.save_pretrained(fresh)
        _write_card(fresh, source, wanted, kind="adapter")
    return Exported(target, "adapter", base=adapter_base(source.path))


def _write_anew(
    source: ModelSource,
    target: Path,
    wanted: Wishes,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    template: Any,
) -> Exported:
    """Write whole weights, load them again, and hold them to what the run says."""
    import torch

    from danlu.models.load import load_config, load_model, load_tokenizer

    if source.kind == "adapter":
        assert source.path is not None
        must_merge(source.path, "Leave out --merge")
    config = load_config(source, trust_remote_code=wanted.trust_remote_code)
    dtype = stored_dtype(wanted.precision, config)
    form = wanted.quantise or str(dtype).removeprefix("torch.")
    meant = _as_trained(source, prompts, wanted)
    model: Any = load_model(source, dtype=torch.float32, **wanted.loading)
    is_causal = model.get_output_embeddings() is not None
    before = _figures(model, tokenizer, template, wanted, "before") if is_causal else None
    with replaced_folder(target) as fresh, tempfile.TemporaryDirectory(dir=fresh) as scratch:
        whole = Path(scratch) / "whole" if wanted.quantise else fresh
        cast_weights(model, dtype)
        _save(model, whole, source, tokenizer, wanted.shard_size)
        cast_weights(model, torch.float32)
        stored = outputs(model, prompts)
        del model
        if wanted.quantise:
            _quantise(whole, fresh, wanted.quantise, dtype)
        again: Any = load_model(fresh, dtype=torch.float32, **wanted.loading)
        found = outputs(again, prompts)
        written = None if wanted.quantise else must_be_equal(stored, found)
        proof = compared(meant or stored, found, form, written) if is_causal else None
        after = None
        if before is not None and form != "float32":
            after = _figures(again, tokenizer, template, wanted, "after")
        del again
        golden_prompts(fresh, load_tokenizer(fresh, trust_remote_code=wanted.trust_remote_code))
        rows = [_format_row(form, fresh, proof, after)] if proof is not None else []
        _write_card(fresh, source, wanted, files=rows, own=before)
    return Exported(
        target,
        "model",
        dtype=str(dtype).removeprefix("torch."),
        quantised=wanted.quantise,
        files=_weight_files(target),
        proof=proof,
        figures=before,
        after=after,
    )


def _as_trained(
    source: ModelSource, prompts: list[list[int]], wanted: Wishes
) -> list[torch.Tensor] | None:
    """Return what a run says with its adapter beside its base, as it was trained.

    None where there is no adapter, and where the base is quantised: its merge is the dequantised
    one.
    """
    import torch

    from danlu.config.recipe import TuningSection
    from danlu.models.load import load_for_tuning
    from danlu.models.source import adapter_quantisation

    if source.kind != "adapter" or source.path is None or adapter_quantisation(source.path):
        return None
    tuning = TuningSection(start="continue")
    model = load_for_tuning(source, tuning, dtype=torch.float32, **wanted.loading)
    return outputs(model, prompts)


def _save(
    model: Any,
    folder: Path,
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    shard_size: str | None,
) -> None:
    from transformers import GenerationConfig

    from danlu.models.quiet import quiet
    from danlu.models.readout import DESCRIPTION, WEIGHTS

    assert source.path is not None
    with quiet():
        save_weights(model, folder, shard_size=shard_size)
        if (source.path / "generation_config.json").is_file():
            GenerationConfig.from_pretrained(source.path).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for name in (DESCRIPTION, WEIGHTS, GOLDEN_FILE):
            if (source.path / name).is_file():
                shutil.copy(source.path / name, folder / name)


def _quantise(whole: Path, folder: Path, name: str, dtype: torch.dtype) -> None:
    """Write the plain folder's weights with fewer bits, and all else as it is."""
    from danlu.serving.quantised import quantise_folder

    quantise_folder(whole, folder, name, dtype)
    for file in whole.iterdir():
        if not (folder / file.name).exists() and not file.name.startswith("model"):
            shutil.copy(file, folder)
    if (whole / "generation_config.json").is_file():
        shutil.copy(whole / "generation_config.json", folder)


def _figures(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    template: Any,
    wanted: Wishes,
    when: str,
) -> OwnFigures:
    """Measure perplexity, and the suite's score where one is asked for."""
    text = shipped_text() if wanted.text is None else wanted.text
    perplexity = text_perplexity(model, tokenizer, text)
    if wanted.score is None:
        return OwnFigures(perplexity)
    score = suite_score(model, tokenizer, template, wanted.score, when)
    return OwnFigures(perplexity, wanted.suite, score)


def suite_score(
    model: Any, tokenizer: PreTrainedTokenizerBase, template: Any, score: Score, when: str
) -> float | None:
    """Ask a model a suite, as it would be asked in a chat."""
    from danlu.generation.local import TransformersGenerator
    from danlu.sequences.template import ChatTemplate

    template = ChatTemplate.load(tokenizer) if template is None else template
    return score(TransformersGenerator(model, tokenizer, template), when)


def _format_row(form: str, folder: Path, proof: Proof, after: OwnFigures | None) -> FormatRow:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return FormatRow(
        form,
        size,
        proof.tokens,
        proof.same,
        proof.mean_difference,
        proof.max_difference,
        after.perplexity if after else None,
        after.score if after else None,
    )


def _write_card(folder: Path, source: ModelSource, wanted: Wishes, **parts: Any) -> None:
    """Write the model card, in place of the one that a library may have left."""
    card = model_card(model_name(source), source.path, evaluations=wanted.evaluations, **parts)
    (folder / CARD).write_text(card, "utf-8")


def _weight_files(folder: Path) -> int:
    return len(list(folder.glob("*.safetensors")))


def model_name(source: ModelSource) -> str:
    """Return a name for files: the run's, the folder's, or the built-in model's."""
    if source.path is None:
        return source.name.rpartition(":")[2]
    inside = source.path.name in ("adapter", "model")
    return source.path.parent.name if inside else source.path.name


def must_merge(adapter: Path, remedy: str) -> None:
    """Check that an adapter can be merged into its base.

    Raises:
        ModelError: If not, with the reason and a remedy.
    """
    from danlu.models.adapters import merge_obstacle

    if reason := merge_obstacle(adapter):
        raise ModelError(
            f"cannot be merged: {reason}. {remedy}; `danlu chat` talks to it as it is.",
            where=str(adapter),
        )


def stored_dtype(precision: str, config: Any) -> torch.dtype:
    """Return the number format to write."""
    import torch

    stored = config.get_text_config().dtype if precision == "auto" else precision
    found = getattr(torch, stored, None) if isinstance(stored, str) else stored
    return found if isinstance(found, torch.dtype) else torch.float32
