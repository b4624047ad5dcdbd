"""``danlu eval run``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.eval.common import AsJson, Evals, tell
from danlu.cli.options import gathered
from danlu.cli.output import note

if TYPE_CHECKING:
    from danlu.evaluation.asking.local import LocalModel
    from danlu.evaluation.asking.model import AskedModel
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.run import Drawing
    from danlu.workshop.produce.cache import RequestCache

EPILOG = """\b
Examples:
  danlu eval run general --model builtin:smollm2-135m-instruct --limit 4
  danlu eval run my-suite/suite.yaml --model runs/my-run
  danlu eval run gsm8k_test.jsonl --model runs/my-run --samples 4 --temperature 0.7
  danlu eval run general --model qwen3 --endpoint http://localhost:8000/v1
  danlu eval run lm-eval:hellaswag,arc_easy --model runs/my-run --limit 200

SUITE is the name of a suite that ships, a YAML file, a folder with suite.yaml, or a data file of
AlignBench, MT-Bench, GSM8K, HumanEval or multiple choice (CSV). lm-eval:TASKS are tasks of
lm-evaluation-harness, or YAML files of such tasks. The same command again goes on with an
evaluation that was broken off; answers that an earlier evaluation of the same model has are not
asked again.
"""

LM_EVAL = "lm-eval:"


@dataclass(frozen=True, kw_only=True)
class Who:
    """The options that say who is asked."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A run, folder, GGUF file, hub id or builtin:NAME; with --endpoint, its name.",
        ),
    ]
    endpoint: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible endpoint, such as http://localhost:8000/v1."),
    ] = None
    key_variable: Annotated[
        str, typer.Option(help="Variable of the environment that holds the endpoint's key.")
    ] = "OPENAI_API_KEY"
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests to an endpoint at a time; else 8.")
    ] = None
    timeout: Annotated[float, typer.Option(help="Longest time for an endpoint's answer, in s.")] = (
        300.0
    )
    template: Annotated[
        str | None, typer.Option(help="Chat template, where the model has none.")
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto"
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False

    def here(self, cache: RequestCache | None) -> LocalModel:
        """Load the model into this process."""
        from danlu.evaluation.asking.local import LocalModel

        return LocalModel.load(
            self.model,
            cache,
            template=self.template,
            device=self.device,
            precision=self.precision,
            trust_remote_code=self.trust_remote_code,
        )

    def opened(self, cache: RequestCache) -> AskedModel:
        """Return the model, in this process or behind its address."""
        if self.endpoint is None:
            return self.here(cache)
        return endpoint_model(
            self.endpoint, self.model, cache, self.key_variable, self.timeout, self.concurrency
        )


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The options that say how answers are drawn."""

    samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt.")] = 1
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; else 0, or 0.7 with several samples.")
    ] = None
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest that reach this.")] = 1.0
    seed: Annotated[int, typer.Option(help="Of the first sample; the next ones count up.")] = 0
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer, where the suite does not say.")
    ] = 512

    def drawing(self) -> Drawing:
        """Return them as evaluations have them."""
        from danlu.evaluation.run import Drawing
        from danlu.generation.interface import Sampling

        temperature = self.temperature
        if temperature is None:
            temperature = 0.0 if self.samples == 1 else 0.7
        if temperature:
            sampling = Sampling(self.max_new_tokens, temperature=temperature, top_p=self.top_p)
            return Drawing(sampling, tuple(range(self.seed, self.seed + self.samples)))
        if self.samples > 1:
            raise typer.BadParameter(
                f"{self.samples} greedy answers are all the same; give --temperature above 0",
                param_hint="--samples",
            )
        return Drawing(Sampling(self.max_new_tokens, greedy=True))


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="What is asked.")],
    who: Who,
    drawn: Drawn,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many items of each task type, the same each time.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Of its folder.")] = None,
    evals: Evals = Path("evals"),
    apply_chat_template: Annotated[
        bool,
        typer.Option("--apply-chat-template", help="Of lm-eval: its texts as a conversation."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a model a suite, score its answers, and print the table by task type."""
    if suite.startswith(LM_EVAL):
        found = _harness(suite, who, drawn, evals, name, limit, apply_chat_template)
    else:
        found = _asked(suite, who, drawn, evals, name, limit)
    summary = found.summary()
    assert summary is not None
    tell(found, summary, as_json)


def _asked(
    suite: str, who: Who, drawn: Drawn, evals: Path, name: str | None, limit: int | None
) -> EvalDirectory:
    """Ask a suite of Danlu's."""
    from danlu.evaluation.run import ANSWERS, evaluate
    from danlu.evaluation.suites import load_suite
    from danlu.workshop.produce.cache import RequestCache

    asked = load_suite(suite)
    asked = asked.limited(limit) if limit else asked
    drawing = drawn.drawing()
    with (
        RequestCache(evals / ANSWERS) as cache,
        closing(who.opened(cache)) as model,
        stage_bar() as progress,
    ):
        return evaluate(asked, model, evals, drawing=drawing, name=name, progress=progress)


def _harness(
    suite: str,
    who: Who,
    drawn: Drawn,
    evals: Path,
    name: str | None,
    limit: int | None,
    apply_chat_template: bool,
) -> EvalDirectory:
    """Let lm-evaluation-harness ask."""
    from danlu.evaluation.harness import run_harness
    from danlu.evaluation.run import free_place

    if who.endpoint is not None or drawn.samples > 1 or drawn.temperature:
        raise typer.BadParameter(
            "its tasks are asked of a model in this process, as they say themselves; leave out "
            "--endpoint, --samples and --temperature",
            param_hint=suite,
        )
    tasks = [task for task in suite.removeprefix(LM_EVAL).split(",") if task]
    if not tasks:
        raise typer.BadParameter("names no task, as in lm-eval:hellaswag", param_hint=suite)
    place = free_place(evals, name, suite, who.model)
    model = who.here(None)
    return run_harness(tasks, model, place, limit=limit, chat_template=apply_chat_template)


def endpoint_model(
    url: str,
    model: str,
    cache: RequestCache,
    key_variable: str,
    timeout: float,
    concurrency: int | None,
) -> AskedModel:
    """Return a model behind an address."""
    from danlu.evaluation.asking.endpoint import EndpointModel
    from danlu.workshop.produce.endpoint import Endpoint
    from danlu.workshop.produce.pace import Pacing

    place = Endpoint(url, model, key_variable=key_variable, timeout_s=timeout)
    return EndpointModel(place, cache, Pacing(concurrency=concurrency))


@contextmanager
def stage_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far each stage is on stderr, if that is a terminal; else say each stage's size."""
    from danlu.cli.data.common import progress_bar

    told: set[str] = set()
    with progress_bar() as bar:

        def progress(stage: str, done: int, total: int) -> None:
            bar(stage, done, total)
            if stage not in told and stage == "asking" and done:
                told.add(stage)
                note(f"{done:,} of {total:,} answers are there already")
            told.add(stage)

        yield progress


def register(group: typer.Typer) -> None:
    """Add the command."""
    command = gathered(gathered(run, "drawn", Drawn), "who", Who)
    group.command("run", epilog=EPILOG)(command)
