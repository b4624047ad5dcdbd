"""``danlu gate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.comparing import (
    A,
    AsJson,
    B,
    Evals,
    HtmlPage,
    Missing,
    Resamples,
    Seed,
    Suite,
    pair_of,
    printed_to,
)
from danlu.cli.data.common import named, progress_bar
from danlu.cli.options import Device
from danlu.cli.output import note, result, result_json, table

if TYPE_CHECKING:
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.gate import Gate, ScoredPair, TextScores
    from danlu.evaluation.likelihood.forest import LikelihoodModel

PASS, FAIL, INCONCLUSIVE = 0, 1, 3
CODES = {
    PASS: "PASS: B may replace A.",
    FAIL: "FAIL: somewhere the loss is surely greater than its margin.",
    2: "The gate could not be asked: something is missing or wrong.",
    INCONCLUSIVE: "INCONCLUSIVE: somewhere too few prompts to say.",
}
EPILOG = """\b
Examples:
  danlu gate runs/v1 runs/v2 --suite tasks
  danlu gate runs/v1 runs/v2 --suite tasks --margin 0.03 --margin news/topic=0.02 --html gate.html
  danlu gate evals/v1 evals/v2 --critical all --no-general --no-text

Exit code: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, and 2 if the gate could not be asked.

Critical task types are those that the suite calls so. Against forgetting the gate also asks the
general suite (`danlu eval general --model M` of both), and lets both models predict plain text.
"""


def gate(
    a: A,
    b: B,
    suite: Suite = None,
    critical: Annotated[
        list[str] | None,
        typer.Option(help="One more critical task type; all: every one.", metavar="NAME"),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(
            help="Greatest loss, as a share of the range: of all, or NAME=MARGIN of one.",
            metavar="MARGIN",
        ),
    ] = None,
    general: Annotated[
        bool, typer.Option("--general/--no-general", help="Ask the general suite too.")
    ] = True,
    general_suite: Annotated[
        str, typer.Option(help="Its name, if it is your own.", metavar="NAME")
    ] = "general",
    general_margin: Annotated[float, typer.Option(help="Greatest loss on it.")] = 0.05,
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="Let both models predict plain text too.")
    ] = True,
    text_file: Annotated[
        Path | None,
        typer.Option(help="Your own text or records, in place of those that ship.", metavar="FILE"),
    ] = None,
    text_margin: Annotated[
        float, typer.Option(help="Greatest rise of cross-entropy, in bits per byte.")
    ] = 0.02,
    missing: Missing = "error",
    resamples: Resamples = 10_000,
    seed: Seed = 0,
    evals: Evals = Path("evals"),
    device: Device = "auto",
    html: HtmlPage = None,
    as_json: AsJson = False,
) -> int:
    """Say whether B may replace A: PASS, FAIL or INCONCLUSIVE."""
    from danlu.evaluation.comparison import CompareSettings
    from danlu.evaluation.finding import find_pair
    from danlu.evaluation.gate import ScoredPair
    from danlu.evaluation.gate import gate as ask
    from danlu.evaluation.pages import gate_page

    pair = pair_of(a, b, suite, evals)
    scored = ScoredPair.read(*pair)
    scored = scored.with_margins(_margins(margin or []), _critical(critical or [], scored))
    told = [one.evaluation() for one in pair]
    wide = None
    if general:
        names = [one.model.name for one in told]
        wide = ScoredPair.read(*find_pair(*names, suite=general_suite, evals=evals))
    found = ask(
        scored,
        general=wide,
        general_margin=general_margin,
        text=_text(pair, text_file, device) if text else None,
        text_margin=text_margin,
        settings=CompareSettings(resamples=resamples, seed=seed, incomplete=missing),
    )
    if html is not None:
        paths = (str(pair[0].path), str(pair[1].path))
        printed_to(html, gate_page(found, told[0], told[1], paths, CODES))
    if as_json:
        result_json(found.as_dict())
    else:
        _print(found)
    return {"pass": PASS, "fail": FAIL}.get(found.outcome.value, INCONCLUSIVE)


def _margins(given: list[str]) -> dict[str, float]:
    """Read ``0.03`` and ``NAME=0.03``."""
    pairs = named("--margin", [one for one in given if "=" in one])
    for one in given:
        if "=" not in one:
            pairs[""] = one
    found = {}
    for name, text in pairs.items():
        try:
            found[name] = float(text)
        except ValueError:
            raise typer.BadParameter(
                f"is {text!r}; it must be a number, or NAME=NUMBER", param_hint="--margin"
            ) from None
    return found


def _critical(given: list[str], scored: ScoredPair) -> list[str]:
    return list(scored.stakes) if "all" in given else given


def _text(pair: tuple[EvalDirectory, EvalDirectory], file: Path | None, device: str) -> TextScores:
    """Load one model after the other, and let it predict."""
    from danlu.errors import EvaluationError
    from danlu.evaluation.plain_text import SHIPPED, read_text, score_text, shipped_text

    documents = shipped_text() if file is None else read_text(file)
    names = []
    for one in pair:
        model = one.evaluation().model
        if model.address is not None:
            raise EvaluationError(
                f"{model.name} is at an endpoint, which gives plain text no probability. Leave "
                "this question out by --no-text.",
                where=str(one.path),
            )
        names.append(model.name)
    with progress_bar() as progress:
        return score_text(
            documents,
            [partial(_likelihood_model, name, device) for name in names],
            source=SHIPPED if file is None else str(file),
            progress=lambda side, done, total: progress(f"plain text, {side}", done, total),
        )


def _likelihood_model(name: str, device: str) -> LikelihoodModel:
    from danlu.evaluation.likelihood.forest import LikelihoodModel
    from danlu.generation.load import load_generator

    return LikelihoodModel(load_generator(name, device=device))


def _print(found: Gate) -> None:
    rows = []
    for row in found.rows:
        ends = None if row.low is None else f"{row.low:+.3f} to {row.high:+.3f}"
        unscored = f" (+{row.unscored} unscored)" if row.unscored else ""
        rows.append(
            (
                row.name + (", bits per byte" if row.kind == "text" else ""),
                f"{row.prompts}{unscored}",
                f"{row.a:.3f}",
                f"{row.b:.3f}",
                f"{row.difference:+.3f}",
                ends,
                f"{row.margin:.3f}",
                row.outcome.value.upper(),
            )
        )
    columns = ("of", "prompts", "A", "B", "difference", "interval", "margin", "answer")
    table(columns, rows, right=columns[1:7])
    for line in found.notes:
        note(line)
    result(found.headline())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gate", epilog=EPILOG)(gate)
