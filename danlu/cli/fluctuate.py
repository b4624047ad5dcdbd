"""``danlu fluctuate``."""

from __future__ import annotations

from dataclasses import dataclass
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
    Seed,
    Suite,
    pair_of,
    printed_to,
)
from danlu.cli.data.common import progress_bar
from danlu.cli.options import gathered
from danlu.cli.output import note, result, result_json, table

if TYPE_CHECKING:
    from danlu.evaluation.asking.model import AskedModel
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.fluctuate import AskedAgain
    from danlu.evaluation.fluctuation import Fluctuation, Pool
    from danlu.workshop.produce.cache import RequestCache

EPILOG = """\b
Examples:
  danlu fluctuate runs/v1 runs/v2 --suite tasks
  danlu fluctuate evals/v1 evals/v2 --prompts 40 --task-type news/topic --html again.html
  danlu fluctuate evals/served-v1 evals/served-v2 --key-variable MY_KEY --concurrency 16

The worst regressions of many prompts look worse than they are, for they were selected as the worst.
So both versions are asked anew, and so are as many prompts drawn at random; the samples that
selected are not counted. The answer is real, noise (a loss of --margin is ruled out) or too few
samples. A call that was stopped goes on where it was.
"""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The options that say how models are asked."""

    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"
    key_variable: Annotated[
        str, typer.Option(help="Variable of the environment that holds the endpoint's key.")
    ] = "OPENAI_API_KEY"
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests to an endpoint at a time; else 8.")
    ] = None
    timeout: Annotated[float, typer.Option(help="Longest time for an endpoint's answer, in s.")] = (
        300.0
    )

    def model(self, directory: EvalDirectory, cache: RequestCache) -> AskedModel:
        """Load the model of an evaluation, or go back to its endpoint; check that it is the same.

        Raises:
            EvaluationError: If it is another by now.
        """
        from danlu.cli.eval.run import endpoint_model
        from danlu.errors import EvaluationError

        asked = directory.evaluation().model
        if asked.address is not None:
            return endpoint_model(
                asked.address, asked.name, cache, self.key_variable, self.timeout, self.concurrency
            )
        from danlu.evaluation.asking.local import LocalModel

        model = LocalModel.load(asked.name, device=self.device)
        if model.asked.fingerprint != asked.fingerprint:
            raise EvaluationError(
                f"{asked.name} is not the model any more that was evaluated: its weights differ. "
                f"Evaluate it again: danlu eval SUITE --model {asked.name}",
                where=str(directory.path),
            )
        return model


def fluctuate(
    a: A,
    b: B,
    asking: Asking,
    suite: Suite = None,
    prompts: Annotated[
        int, typer.Option(help="Regressions asked again, and as many controls.", min=1)
    ] = 20,
    samples: Annotated[
        int, typer.Option(help="Fresh answers of each version to each prompt.", min=2)
    ] = 20,
    task_type: Annotated[
        list[str] | None, typer.Option(help="Only prompts of this one.", metavar="NAME")
    ] = None,
    k: Annotated[int, typer.Option(help="Of pass@k.", min=1)] = 10,
    margin: Annotated[float, typer.Option(help="Smallest loss of pass@1 that matters.")] = 0.1,
    pass_share: Annotated[
        float, typer.Option(help="Of a score's range, from which an answer passes.")
    ] = 0.5,
    temperature: Annotated[
        float | None,
        typer.Option(help="As in the evaluations, or 0.7 where they were greedy."),
    ] = None,
    missing: Missing = "error",
    seed: Seed = 0,
    evals: Evals = Path("evals"),
    html: HtmlPage = None,
    as_json: AsJson = False,
) -> int:
    """Ask the worst regressions again: are they real, or noise?"""
    from danlu.evaluation.fluctuate import fluctuate as ask
    from danlu.evaluation.fluctuation import FluctuateSettings
    from danlu.evaluation.run import ANSWERS
    from danlu.workshop.produce.cache import RequestCache

    settings = FluctuateSettings(
        samples=samples,
        prompts=prompts,
        k=min(k, samples),
        margin=margin,
        pass_share=pass_share,
        seed=seed,
    )
    pair = pair_of(a, b, suite, evals)
    with progress_bar() as progress, RequestCache(evals / ANSWERS) as cache:
        asked = ask(
            *pair,
            lambda directory: asking.model(directory, cache),
            settings=settings,
            task_types=task_type or None,
            folder=evals,
            incomplete=missing,
            temperature=temperature,
            progress=lambda letter: (
                lambda stage, done, total: progress(f"{letter}: {stage}", done, total)
            ),
        )
    if html is not None:
        printed_to(html, _page(asked, pair[1].evaluation().suite))
    if as_json:
        result_json(asked.found.as_dict() | {"paths": asked.paths, "notes": asked.notes})
    else:
        _print(asked.found, asked.notes)
    return 0


def _page(asked: AskedAgain, suite: str) -> str:
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.pages import fluctuation_page

    a, b = (
        EvalDirectory.open(path).evaluation().model_copy(update={"suite": suite})
        for path in asked.paths
    )
    return fluctuation_page(asked.found, a, b, asked.paths, asked.answers, asked.notes)


def _print(found: Fluctuation, notes: tuple[str, ...]) -> None:
    rows = []
    for one in found.prompts:
        sides = [
            f"{side.passed} of {side.drawn}" + (f" (+{side.missing})" if side.missing else "")
            for side in (one.a, one.b)
        ]
        rows.append(
            (
                one.prompt,
                one.task_type,
                "control" if one.control else "regression",
                *sides,
                f"{one.difference:+.3f}",
                f"{one.low:+.3f} to {one.high:+.3f}",
                one.finding.value,
            )
        )
    columns = ("prompt", "task type", "chosen as", "A", "B", "difference", "interval", "finding")
    table(columns, rows, right=columns[3:7])
    result("")
    k = found.settings.k
    pools = [("regressions", found.regressions), ("controls", found.controls)]
    heads = ("together", "prompts", "pass@1 A", "B", f"pass@{k} A", "B", "interval", "p", "finding")
    lines = [_pool_row(name, pool) for name, pool in pools if pool is not None]
    table(heads, lines, right=heads[1:8])
    for line in notes:
        note(line)
    result(found.headline())


def _pool_row(name: str, pool: Pool) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    return (
        name,
        str(pool.prompts),
        *(share(value) for value in (pool.a, pool.b, pool.a_k, pool.b_k)),
        f"{pool.low:+.3f} to {pool.high:+.3f}",
        f"{pool.p:.2g}",
        pool.finding.value,
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fluctuate", epilog=EPILOG)(gathered(fluctuate, "asking", Asking))
