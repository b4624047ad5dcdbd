"""``danlu data make …``: data made with a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.asking import Asked, beside, opened, with_model
from danlu.cli.data.common import (
    AsJson,
    Data,
    Name,
    StorePath,
    open_store,
    progress_bar,
    tell_version,
)
from danlu.cli.options import TaxonomyFile
from danlu.cli.output import note

if TYPE_CHECKING:
    from danlu.workshop.produce import constraints as constraining
    from danlu.workshop.produce import evolve as evolving
    from danlu.workshop.produce import prompts as prompting
    from danlu.workshop.produce.common import Rejects
    from danlu.workshop.produce.engine import Engine
    from danlu.workshop.store.decision import Operation
    from danlu.workshop.taxonomy import Taxonomy

EPILOG = """\b
Examples:
  danlu data make self-instruct --count 500 --url http://localhost:8000/v1 -m strong -n tasks
  danlu data make answer questions.jsonl -m runs/my-run -n answered

Answers are kept as they come: a command that was stopped goes on where it was when it is run again.
How, and what each maker does: docs/making-data.md.
"""
ANSWER_EPILOG = """\b
Examples:
  danlu data make answer questions.jsonl --url https://api.example.com/v1 -m strong -n answered
  danlu data make answer mine -m strong --url http://localhost:8000/v1 --samples 5 --choose majority
  danlu data make answer mine -m strong --url ... --samples 4 --judge other --judge-url ...
  danlu data make answer mine -m strong --url ... --check my_checks.py:names_a_source
  danlu data make answer mine -m builtin:smollm2-135m-instruct --no-reasoning -n answered

A function of --check gets the record with its answer, and returns what is wrong in words, or None.
"""
SELF_INSTRUCT_EPILOG = """\b
Examples:
  danlu data make self-instruct --count 500 --url http://localhost:8000/v1 -m strong -n tasks
  danlu data make self-instruct my-seeds.jsonl --count 200 --language zh --url ... -m strong

Without data it begins with the seed tasks that come with Danlu.
"""
EVOLVE_EPILOG = """\b
Examples:
  danlu data make evolve tasks --url http://localhost:8000/v1 -m strong -n harder
  danlu data make evolve tasks --way deepen --way rephrase --each 2 --url ... -m strong
"""
CONSTRAINTS_EPILOG = """\b
Examples:
  danlu data make constraints tasks --url http://localhost:8000/v1 -m strong -n constrained
  danlu data make constraints tasks --kind min_characters --kind items --each 2 --url ... -m strong
"""


class Choose(StrEnum):
    """Which of several answers is taken."""

    first = "first"
    majority = "majority"
    judge = "judge"


class Language(StrEnum):
    """A language of tasks."""

    zh = "zh"
    en = "en"


class Way(Enum):
    """A way to evolve a task."""

    deepen = "deepen"
    widen = "widen"
    concretise = "concretise"
    rephrase = "rephrase"
    translate = "translate"


class Kind(StrEnum):
    """A kind of constraint."""

    min_characters = "min_characters"
    max_characters = "max_characters"
    min_words = "min_words"
    max_words = "max_words"
    sentences = "sentences"
    paragraphs = "paragraphs"
    items = "items"
    contains = "contains"
    json = "json"


MakeOperation = Callable[["Engine"], "Operation"]


@with_model
def answer(
    data: Data,
    asked: Asked,
    reasoning: Annotated[
        bool,
        typer.Option("--reasoning/--no-reasoning", help="Ask for reasoning, and keep it apart."),
    ] = True,
    samples: Annotated[int, typer.Option(min=1, help="Answers drawn for each record.")] = 1,
    choose: Annotated[Choose, typer.Option(help="Which of them is taken.")] = Choose.first,
    least_agreement: Annotated[
        float, typer.Option(help="With majority: share of the samples that must agree.")
    ] = 0.0,
    shots: Annotated[int, typer.Option(min=0, help="Examples in each prompt.")] = 3,
    reasks: Annotated[
        int, typer.Option(min=0, help="How often a wrong answer is asked for again.")
    ] = 2,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py[:FUNCTION]",
            help="Your function says what is wrong with an answer; again for more.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Another model that chooses among the samples, named as --model is."),
    ] = None,
    judge_url: Annotated[str | None, typer.Option(help="Its endpoint; else that of --url.")] = None,
    judge_key_variable: Annotated[
        str, typer.Option(help="Variable of the environment that holds the key for --judge-url.")
    ] = "JUDGE_API_KEY",
    again: Annotated[bool, typer.Option("--again", help="Answer anew what is answered.")] = False,
    taxonomy: TaxonomyFile = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Let a strong model answer the records that end with a question."""
    from danlu.workshop.checks.own_checks import own_checks_named
    from danlu.workshop.produce.answer import Answers

    tree = data_taxonomy(taxonomy, data, store)
    own = tuple(one for text in check or () for one in own_checks_named(text))
    judging = _judge(asked, judge, judge_url, judge_key_variable, samples, choose)

    with ExitStack() as stack:

        def maker(asking: Engine) -> Operation:
            return Answers(
                asking,
                asked.sampling(),
                reasoning,
                samples,
                Choose.judge.value if judging else choose.value,
                least_agreement,
                stack.enter_context(beside(asking, judging)) if judging else None,
                shots=shots,
                reasks=reasks,
                taxonomy=tree,
                again=again,
                prompts=asked.own_prompts(),
                seed=asked.seed,
                own=own,
            )

        make_version(maker, data, asked, store, name, as_json)


@with_model
def self_instruct(
    asked: Asked,
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA...]", help="Seeds; else those that come with Danlu."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many new records are wanted.")] = 100,
    language: Annotated[
        list[Language] | None, typer.Option(help="In which language; again for both.")
    ] = None,
    novelty: Annotated[
        float, typer.Option(help="Highest ROUGE-L F1 to a prompt that is there.")
    ] = 0.7,
    instances: Annotated[
        int, typer.Option(min=1, help="Answers to each task, which must not conflict.")
    ] = 1,
    most_rounds: Annotated[int, typer.Option(min=1, help="The end in any case.")] = 1000,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Invent new tasks from a few seeds, and answer them."""
    from danlu.workshop.produce.self_instruct import SEEDS, SelfInstruct

    languages: tuple[prompting.Language, ...] = tuple(one.value for one in language or Language)

    def maker(asking: Engine) -> Operation:
        return SelfInstruct(
            asking,
            count,
            asked.sampling(1.0),
            asked.sampling(),
            languages,
            novelty_limit=novelty,
            instances=instances,
            most_rounds=most_rounds,
            prompts=asked.own_prompts(),
            seed=asked.seed,
        )

    make_version(maker, data or [str(SEEDS)], asked, store, name, as_json)


@with_model
def evolve(
    data: Data,
    asked: Asked,
    way: Annotated[list[Way] | None, typer.Option(help="One way; again for more.")] = None,
    each: Annotated[int, typer.Option(min=1, help="Ways drawn for each record.")] = 1,
    generations: Annotated[
        int, typer.Option(min=1, help="How often what came out is evolved again.")
    ] = 1,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="Let the model say whether tasks differ."),
    ] = True,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make harder, rarer and otherwise worded tasks from those that are there."""
    from danlu.workshop.produce.evolve import Evolve

    ways: tuple[evolving.Way, ...] = tuple(one.value for one in way or Way)

    def maker(asking: Engine) -> Operation:
        sampling = asked.sampling()
        return Evolve(
            asking,
            ways,
            each,
            generations,
            sampling,
            sampling,
            compare,
            prompts=asked.own_prompts(),
            seed=asked.seed,
        )

    make_version(maker, data, asked, store, name, as_json)


@with_model
def constraints(
    data: Data,
    asked: Asked,
    kind: Annotated[list[Kind] | None, typer.Option(help="One constraint; again for more.")] = None,
    each: Annotated[int, typer.Option(min=1, help="Constraints drawn for each record.")] = 1,
    both: Annotated[
        bool,
        typer.Option("--both/--rewritten-only", help="Keep also the prompt as it was asked."),
    ] = True,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make prompts that ask for a length, a count or a word, with answers that keep to it."""
    from danlu.workshop.produce.constraints import Constraints

    kinds: tuple[constraining.Constraint, ...] = tuple(one.value for one in kind or Kind)

    def maker(asking: Engine) -> Operation:
        return Constraints(
            asking,
            kinds,
            each,
            asked.sampling(),
            both,
            prompts=asked.own_prompts(),
            seed=asked.seed,
        )

    make_version(maker, data, asked, store, name, as_json)


def make_version(
    maker: MakeOperation,
    data: str | Sequence[str],
    asked: Asked,
    store: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Let a maker work on data, and print what came of it."""
    from danlu.workshop.data import as_version
    from danlu.workshop.produce.common import Rejects

    opened_store = open_store(store)
    with progress_bar() as progress:
        parent = as_version(opened_store, data, progress=progress)
    with opened(asked, opened_store.path, "asking") as engine:
        operation: Any = maker(engine)
        version = opened_store.apply(operation, parent, name=name)
    tell_version(version, name, as_json)
    tell_rejects(getattr(operation, "rejects", Rejects()), asked.rejects, is_new=version.is_new)


def tell_rejects(rejects: Rejects, path: Path | None, *, is_new: bool) -> None:
    """Say what was made and not taken, and write it to a file if one is named.

    Args:
        rejects: Gathered while something was made.
        path: The file.
        is_new: Whether anything was made now, rather than found.
    """
    for rule, count in rejects.counts().items():
        note(f"{count:,} not taken: {rule}")
    if path and is_new:
        rejects.write(path)
    elif path:
        note(f"all was there, so nothing was made anew: {path} is not written")


def _judge(
    asked: Asked,
    judge: str | None,
    url: str | None,
    key_variable: str,
    samples: int,
    choose: Choose,
) -> Asked | None:
    """Return the options of the judge; None if there is none.

    Raises:
        BadParameter: If there is nothing for a judge to do.
    """
    if judge is None:
        if url:
            raise typer.BadParameter("name the model too", param_hint="--judge")
        if choose == Choose.judge and samples == 1:
            raise typer.BadParameter("a judge needs --samples 2 or more", param_hint="--choose")
        return None
    if choose == Choose.majority:
        raise typer.BadParameter("--choose majority asks no judge", param_hint="--judge")
    if samples == 1:
        raise typer.BadParameter("a judge needs --samples 2 or more", param_hint="--judge")
    if url is None:
        return replace(asked, model=judge)
    # A key is sent to no other endpoint than its own.
    return replace(asked, model=judge, url=url, key_variable=key_variable)


def data_taxonomy(given: Path | None, data: str, store: Path | None) -> Taxonomy | None:
    """Return the taxonomy that is given, or the dataset's own."""
    from danlu.workshop.data import named_version
    from danlu.workshop.taxonomy import Taxonomy

    if given:
        return Taxonomy.load(given)
    version = named_version(open_store(store), data)
    return version.taxonomy if version else None


group = typer.Typer(
    name="make", help="Make data with a model.", epilog=EPILOG, rich_markup_mode=None
)
group.command("answer", epilog=ANSWER_EPILOG)(answer)
group.command("self-instruct", epilog=SELF_INSTRUCT_EPILOG)(self_instruct)
group.command("evolve", epilog=EVOLVE_EPILOG)(evolve)
group.command("constraints", epilog=CONSTRAINTS_EPILOG)(constraints)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(group, name="make")
