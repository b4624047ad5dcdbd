"""``danlu export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import note, result, result_json
from danlu.errors import ModelError

if TYPE_CHECKING:
    from danlu.evaluation.schema import TypeSummary
    from danlu.serving.model_card import EvaluationTable

EPILOG = """\b
Examples:
  danlu export runs/my-run --merge -o my-model
  danlu export runs/my-run/adapter -o my-adapter
  danlu export runs/my-run --to my-gguf --gguf q8_0 --gguf q4_k_m
"""


def export(
    run_or_adapter: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_ADAPTER", help="A run directory, or an adapter's folder."),
    ],
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", "--to", help="The folder to write; it must not exist yet."),
    ],
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Merge the adapter into its base: a plain transformers model."
        ),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of merged weights: auto (the base's), float32, bfloat16, float16."
        ),
    ] = "auto",
    gguf: Annotated[
        list[str] | None,
        typer.Option(
            "--gguf",
            metavar="FORMAT",
            help="Write GGUF for llama.cpp and Ollama, with the adapter merged: f16, q8_0 or "
            "q4_k_m; can be given several times. Needs the extra gguf.",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="With --gguf: system message for Ollama's Modelfile."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="With --gguf: plain text for the perplexity; a page is shipped."),
    ] = None,
    evals: Annotated[
        Path, typer.Option(help="With --gguf: folder of evaluations for the model card.")
    ] = Path("evals"),
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write a run's model as a folder for other programs."""
    if gguf:
        _as_gguf(
            run_or_adapter,
            folder,
            gguf,
            as_json,
            system=system,
            text=None if text is None else _read(text),
            evaluations=_evaluations(Path(run_or_adapter), evals),
            trust_remote_code=trust_remote_code,
        )
        return
    if system is not None:
        raise ModelError("goes into a Modelfile, which only --gguf writes.", where="--system")
    from danlu.serving.export import export as write

    written = write(
        run_or_adapter,
        folder,
        merge=merge,
        precision=precision,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        result_json(asdict(written))
    elif written.kind == "adapter":
        result(f"adapter written to {written.path}; it belongs to {written.base}")
    else:
        weights = f" in {written.dtype}" if written.dtype else ""
        result(f"model written to {written.path}{weights}")


def _as_gguf(
    run: str,
    folder: Path,
    formats: list[str],
    as_json: bool,
    **options: Any,
) -> None:
    from danlu.serving.export_gguf import export_gguf

    written = export_gguf(run, folder, formats, **options)
    if as_json:
        result_json([asdict(one) for one in written])
        return
    for one in written:
        found = one.compared
        result(
            f"{one.path} ({one.size_bytes / 1e6:.1f} MB)\n"
            f"  asked through llama.cpp: {found.prompts} golden prompts rendered and cut alike; "
            f"{found.same} of {found.tokens} greedy tokens are the model's own; log-probabilities "
            f"differ by {found.mean_difference:.3f} nats on the mean, {found.max_difference:.3f} "
            "at most" + (f"; perplexity {one.perplexity:.3f}" if one.perplexity is not None else "")
        )
        for note_text in found.notes:
            note(f"note: {note_text}")
    result(f"for Ollama: ollama create NAME -f {folder / 'Modelfile'}")


def _evaluations(run: Path, folder: Path) -> list[EvaluationTable]:
    """Read the finished evaluations of a run."""
    from danlu.evaluation.directory import find_evaluations
    from danlu.serving.model_card import EvaluationTable

    found = []
    for one in find_evaluations(folder):
        of_run, summary = one.evaluation().model.run, one.summary()
        if summary is None or of_run is None or Path(of_run).resolve() != run.resolve():
            continue
        rows = tuple(
            (name, _scored(kind), kind.score, kind.low, kind.high)
            for name, kind in summary.task_types.items()
        )
        found.append(EvaluationTable(f"{one.name}: {summary.suite}", summary.score, rows))
    return found


def _scored(of: TypeSummary) -> str:
    return f"{of.scored:,}" if of.scored == of.items else f"{of.scored:,} of {of.items:,}"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot be read as UTF-8 text: {error}", where=str(file)) from error


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", epilog=EPILOG)(export)
