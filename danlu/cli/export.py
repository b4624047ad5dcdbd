"""``danlu export`` and ``danlu push``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.options import gathered
from danlu.cli.output import note, result, result_json
from danlu.errors import ModelError

if TYPE_CHECKING:
    from danlu.evaluation.schema import TypeSummary
    from danlu.serving.export import Exported
    from danlu.serving.model_card import EvaluationTable
    from danlu.serving.push import Pushed

EPILOG = """\b
Examples:
  danlu export runs/my-run --merge -o my-model
  danlu export runs/my-run --merge --shard-size 2GB --precision bfloat16 -o my-model
  danlu export runs/my-run/adapter -o my-adapter
  danlu export runs/my-run --quantise nf4 --suite general --suite-limit 4 -o my-4-bit
  danlu export runs/my-run --to my-gguf --gguf q8_0 --gguf q4_k_m
  HF_TOKEN=... danlu export runs/my-run --merge -o my-model --push me/my-model
"""
PUSH_EPILOG = """\b
Examples:
  HF_TOKEN=... danlu push my-model me/my-model
  HF_TOKEN=... danlu push my-model me/my-model --public --json
"""


@dataclass(frozen=True)
class ExportOptions:
    """What is written, and in what form: each field is an option."""

    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Merge the adapter into its base: a plain transformers model."
        ),
    ] = False
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of whole weights: auto (the base's), float32, bfloat16, float16."
        ),
    ] = "auto"
    shard_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Largest file of weights, such as 2GB.")
    ] = None
    quantise: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Write int8 or nf4 (4 bits) for transformers, the adapter merged. Needs the "
            "extra qlora.",
        ),
    ] = None
    gguf: Annotated[
        list[str] | None,
        typer.Option(
            "--gguf",
            metavar="FORMAT",
            help="Write GGUF for llama.cpp and Ollama, with the adapter merged: f16, q8_0 or "
            "q4_k_m; can be given several times. Needs the extra gguf.",
        ),
    ] = None
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="With --gguf: system message for Ollama's Modelfile."),
    ] = None
    text: Annotated[
        Path | None,
        typer.Option(help="Plain text for the perplexity; else that of the suite plain-text."),
    ] = None
    suite: Annotated[
        str | None,
        typer.Option(help="Suite that is asked before and after, for the model card."),
    ] = None
    suite_limit: Annotated[
        int | None, typer.Option(min=1, help="So many items of each of its task types.")
    ] = None
    evals: Annotated[Path, typer.Option(help="Folder of evaluations for the model card.")] = Path(
        "evals"
    )
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload it too, as danlu push does."),
    ] = None
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ModelError: If something does not.
        """
        if self.system is not None and not self.gguf:
            raise ModelError("goes into a Modelfile, which only --gguf writes.", where="--system")
        given = {"--quantise": self.quantise, "--shard-size": self.shard_size}
        given["--precision"] = None if self.precision == "auto" else self.precision
        for name, value in given.items():
            if self.gguf and value is not None:
                raise ModelError("is not for --gguf, whose formats say it all.", where=name)
        if self.quantise is not None and self.shard_size is not None:
            raise ModelError("is not for --quantise: leave it out.", where="--shard-size")
        if self.suite_limit is not None and self.suite is None:
            raise ModelError("goes with --suite, which names what is asked.", where="--suite-limit")

    def measured(self, run: str) -> dict[str, Any]:
        """Return what is measured and shown on the card, whatever the form."""
        options: dict[str, Any] = {
            "text": None if self.text is None else _read(self.text),
            "evaluations": _evaluations(Path(run), self.evals),
            "trust_remote_code": self.trust_remote_code,
        }
        if self.suite is not None:
            options |= {"suite": self.suite, "score": _scorer(self.suite, self.suite_limit)}
        return options


def export(
    run_or_adapter: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_ADAPTER", help="A run directory, or an adapter's folder."),
    ],
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", "--to", help="The folder to write; it must not exist yet."),
    ],
    options: ExportOptions,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write a run's model, with a card, for other programs."""
    options.check()
    if options.push is not None:
        from danlu.serving.push import check_repo, hub_token

        check_repo(options.push)
        hub_token()
    measured = options.measured(run_or_adapter)
    said: Any
    if options.gguf:
        system = options.system
        said = _as_gguf(run_or_adapter, folder, options.gguf, as_json, system=system, **measured)
    else:
        said = _as_folder(run_or_adapter, folder, options, as_json, **measured)
    if options.push is not None:
        pushed = _push(folder, options.push)
        if as_json and isinstance(said, dict):
            said["pushed"] = asdict(pushed)
        elif not as_json:
            _tell_pushed(pushed)
    if as_json:
        result_json(said)


def push(
    folder: Annotated[Path, typer.Argument(help="A folder that danlu export wrote.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository.")],
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; else it is private.")
    ] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Upload by danlu",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Upload an exported model to the hub.

    The token is read from the variable HF_TOKEN, and from nowhere else.
    """
    pushed = _push(folder, repo, public=public, message=message)
    if as_json:
        result_json(asdict(pushed))
    else:
        _tell_pushed(pushed)


def _push(folder: Path, repo: str, **options: Any) -> Pushed:
    from danlu.serving.push import push as upload

    return upload(folder, repo, **options)


def _tell_pushed(pushed: Pushed) -> None:
    size = f"{pushed.size_bytes / 1e6:.1f} MB"
    result(f"{pushed.files} files ({size}) uploaded to {pushed.url}, commit {pushed.commit[:12]}")


def _as_folder(
    run: str, folder: Path, options: ExportOptions, as_json: bool, **measured: Any
) -> dict[str, Any]:
    from danlu.serving.export import export as write

    written = write(
        run,
        folder,
        merge=options.merge,
        precision=options.precision,
        quantise=options.quantise,
        shard_size=options.shard_size,
        **measured,
    )
    if not as_json:
        _tell(written)
    return asdict(written)


def _shown(path: Path) -> Path:
    """Return a path as it is reached from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _tell(written: Exported) -> None:
    if written.kind == "adapter":
        result(f"adapter written to {_shown(written.path)}; it belongs to {written.base}")
        return
    form = written.quantised or written.dtype
    files = f" ({written.files} files of weights)" if written.files > 1 else ""
    result(f"model written to {_shown(written.path)}{f' in {form}' if form else ''}{files}")
    if (proof := written.proof) is not None:
        equal = proof.written_difference
        loaded = "" if equal is None else f"; its logits are those in memory to {equal:.1g}"
        result(
            f"  loaded again: {proof.same} of {proof.tokens} next tokens are the run's own; "
            f"log-probabilities differ by {proof.mean_difference:.4f} nats on the mean, "
            f"{proof.max_difference:.3f} at most{loaded}"
        )
    before, after = written.figures, written.after
    if before is not None and after is not None:
        result(f"  perplexity {before.perplexity:.3f}, and {after.perplexity:.3f} as written")
        if before.score is not None and after.score is not None:
            result(f"  {before.suite}: {before.score:.3f}, and {after.score:.3f} as written")


def _as_gguf(run: str, folder: Path, formats: list[str], as_json: bool, **options: Any) -> Any:
    from danlu.serving.export_gguf import export_gguf

    written = export_gguf(run, folder, formats, **options)
    if not as_json:
        for one in written:
            found = one.compared
            perplexity = f"; perplexity {one.perplexity:.3f}" if one.perplexity is not None else ""
            score = f"; {options['suite']} {one.score:.3f}" if one.score is not None else ""
            result(
                f"{_shown(one.path)} ({one.size_bytes / 1e6:.1f} MB)\n"
                f"  asked through llama.cpp: {found.prompts} golden prompts rendered and cut "
                f"alike; {found.same} of {found.tokens} greedy tokens are the model's own; "
                f"log-probabilities differ by {found.mean_difference:.3f} nats on the mean, "
                f"{found.max_difference:.3f} at most{perplexity}{score}"
            )
            for note_text in found.notes:
                note(f"note: {note_text}")
        result(f"for Ollama: ollama create NAME -f {folder / 'Modelfile'}")
    return [asdict(one) for one in written]


def _scorer(name: str, limit: int | None) -> Callable[[Any, str], float | None]:
    """Return what asks a suite of a model and gives its score."""
    import tempfile

    from danlu.cli.eval.run import stage_bar
    from danlu.evaluation.asking.local import LocalModel
    from danlu.evaluation.run import evaluate
    from danlu.evaluation.schema import ModelAsked
    from danlu.evaluation.suites import load_suite
    from danlu.evaluation.summary import at_worst

    suite = load_suite(name)
    suite = suite.limited(limit) if limit else suite
    for kind, stakes in suite.task_types.items():
        if stakes.scorer.partition("/")[0] == "judge":
            raise ModelError(
                f"a judge has to score {kind}, and there is none here: name another suite.",
                where="--suite",
            )

    def score(generator: Any, which: str) -> float | None:
        model = LocalModel(generator, ModelAsked(name=which, fingerprint=which))
        with tempfile.TemporaryDirectory() as folder, stage_bar() as progress:
            asked = evaluate(suite, model, folder, progress=progress)
            summary, stakes = asked.summary(), asked.evaluation().task_types
        return None if summary is None else at_worst(summary, stakes)

    return score


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
    """Add the commands."""
    app.command("export", epilog=EPILOG)(gathered(export, "options", ExportOptions))
    app.command("push", epilog=PUSH_EPILOG)(push)
