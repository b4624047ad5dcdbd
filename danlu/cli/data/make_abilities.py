"""``danlu data make`` for rag, tools, long texts and new knowledge.

Each gives a training set, and with ``--eval-share`` an evaluation set beside it that shares no
prompt with it.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.asking import Asked, with_model
from danlu.cli.data.common import AsJson, Name, StorePath, named, open_store
from danlu.cli.data.make import group
from danlu.cli.data.making import (
    Area,
    DataOrNone,
    EvalShare,
    Languages,
    PromptsFolder,
    Seed,
    Work,
    languages_of,
    prompts_of,
    tell,
)
from danlu.cli.output import note, result

if TYPE_CHECKING:
    from danlu.workshop.produce.abilities.long_context import Measure
    from danlu.workshop.produce.common import Asking
    from danlu.workshop.store.decision import Operation

RAG_EPILOG = """\b
Examples:
  danlu data make rag -n rag --eval-share 0.2
  danlu data make rag questions.jsonl --case wrong --case contradicting -n rag
  danlu data make rag pages/*.md -m strong --url http://localhost:8000/v1 -n rag
  danlu data make rag --policy nothing=own_knowledge --policy irrelevant=own_knowledge -n rag

Without data it takes the questions that come with Danlu. Data are records with question, answer
and passage (and wrong, another value), what doc2qa made, or documents, of which a model makes them.
"""
TOOLS_EPILOG = """\b
Examples:
  danlu data make tools --count 600 -n calls --eval-share 0.1
  danlu data make tools tasks --count 600 -n calls
  danlu data make tools --tools mine.json --count 200 -m strong --url http://localhost:8000/v1

With --tools a model writes requests, results and answers, and code checks them. Without, code plays
the tools that come with Danlu; records that are given are asked with tools that they do not need.
"""
LONG_EPILOG = """\b
Examples:
  danlu data make long-context --length 1000 --length 8000 -n long
  danlu data make long-context book.md --tokens builtin:smollm2-135m-instruct --length 1500 -n long
"""
KNOWLEDGE_EPILOG = """\b
Examples:
  danlu data make knowledge --entities 50 -n facts
  danlu data make knowledge --entities 50 --naming tokens --form questions --form documents -n facts

Makes NAME-train, which teaches the facts, and NAME-eval, which asks for them in the same words, in
other words, and the other way round. With --naming tokens it prints the recipe's model.new_tokens.
"""


class RagCase(StrEnum):
    """A way in which retrieval goes."""

    answered = "answered"
    nothing = "nothing"
    contradicting = "contradicting"
    irrelevant = "irrelevant"
    wrong = "wrong"


class ToolCase(StrEnum):
    """What is done with tools."""

    one_call = "one_call"
    several_calls = "several_calls"
    chained_calls = "chained_calls"
    no_call = "no_call"
    missing_argument = "missing_argument"
    failing = "failing"


class Hidden(StrEnum):
    """What is hidden in a long text."""

    passkey = "passkey"
    facts = "facts"


class NamingKind(StrEnum):
    """What invented things are called."""

    names = "names"
    tokens = "tokens"


class FormKind(StrEnum):
    """How facts are taught."""

    questions = "questions"
    documents = "documents"


@with_model(required=False)
def rag(
    asked: Asked,
    data: DataOrNone = None,
    case: Annotated[
        list[RagCase] | None, typer.Option(help="One case; again for more; else all.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CASE=POLICY",
            help="What is done: nothing and irrelevant=decline or own_knowledge, "
            "contradicting=name_both or decline.",
        ),
    ] = None,
    passages: Annotated[int, typer.Option(min=2, help="Most passages that are shown.")] = 3,
    reword: Annotated[
        bool, typer.Option("--reword/--no-reword", help="Let the model say answers otherwise.")
    ] = True,
    keep_given: Annotated[
        bool, typer.Option("--keep-given", help="Keep the data in the result.")
    ] = False,
    area: Area = None,
    eval_share: EvalShare = 0.0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make prompts with retrieved passages, and what to do where retrieval fails."""
    from danlu.workshop.produce.abilities.passages import SHIPPED_QUESTIONS
    from danlu.workshop.produce.abilities.rag import CASES, Rag

    def maker(asking: Asking | None) -> Operation:
        return Rag(
            tuple(one.value for one in case) if case else CASES,
            named("--policy", policy or []),
            passages,
            asking,
            reword,
            asked.sampling(),
            keep_given,
            area or "rag",
            asked.own_prompts(),
            asked.seed,
        )

    work = Work(eval_share, asked.seed, store, name, as_json, asked.rejects)
    work.of_records(maker, data or [str(SHIPPED_QUESTIONS)], asked)


@with_model(required=False)
def tools(
    asked: Asked,
    data: DataOrNone = None,
    count: Annotated[int, typer.Option(min=1, help="How many conversations.")] = 100,
    case: Annotated[
        list[ToolCase] | None,
        typer.Option(help="One case; again for more; else all. With --tools: one_call, failing."),
    ] = None,
    declared: Annotated[
        Path | None,
        typer.Option("--tools", help="JSON file of your own declarations, in OpenAI's schema."),
    ] = None,
    others: Annotated[
        int, typer.Option(min=0, help="Most tools that are declared and not needed.")
    ] = 4,
    language: Languages = None,
    area: Area = None,
    eval_share: EvalShare = 0.0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make conversations in which tools are called, or rightly not called."""
    from danlu.workshop.produce.abilities.evaluation import CutTurns
    from danlu.workshop.produce.abilities.own_tools import OWN_CASES, OwnTools, read_declarations
    from danlu.workshop.produce.abilities.tool_calls import CASES, ToolCalls

    own = tuple(read_declarations(declared)) if declared else None
    if own and not asked.model:
        raise typer.BadParameter("a model must write the requests: --model", param_hint="--tools")
    cases: Any = tuple(one.value for one in case) if case else None

    def maker(asking: Asking | None) -> Operation:
        if own and asking:
            return OwnTools(
                asking,
                own,
                count,
                cases or OWN_CASES,
                languages_of(language),
                asked.sampling(),
                area or "tools",
                asked.own_prompts(),
                asked.seed,
            )
        return ToolCalls(
            count,
            cases or CASES,
            languages_of(language),
            others,
            asking,
            asked.sampling(),
            area or "tools",
            asked.own_prompts(),
            asked.seed,
        )

    work = Work(eval_share, asked.seed, store, name, as_json, asked.rejects)
    work.then_split(maker, data, asked, after=CutTurns())


def long_context(
    data: DataOrNone = None,
    length: Annotated[
        list[int] | None, typer.Option(min=1, help="One length; again for more.")
    ] = None,
    depth: Annotated[
        list[float] | None,
        typer.Option(help="Where the pass key stands, 0 to 1; again for more."),
    ] = None,
    each: Annotated[
        int, typer.Option(min=1, help="Prompts for every length, depth and language.")
    ] = 2,
    kind: Annotated[
        list[Hidden] | None, typer.Option(help="passkey or facts; again for both.")
    ] = None,
    facts: Annotated[int, typer.Option(min=1, help="Facts that a question asks for.")] = 3,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Count lengths in the tokens of this model; else characters."
        ),
    ] = None,
    language: Languages = None,
    area: Area = None,
    seed: Seed = 0,
    prompts: PromptsFolder = None,
    eval_share: EvalShare = 0.0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Hide a pass key or facts in long texts, at swept lengths and places."""
    from danlu.workshop.produce.abilities.long_context import HIDDEN, LongContext

    usual = LongContext()

    def maker(asking: Asking | None) -> Operation:
        return LongContext(
            tuple(length or usual.lengths),
            tuple(usual.depths if depth is None else depth),
            each,
            tuple(one.value for one in kind) if kind else HIDDEN,
            facts,
            languages_of(language),
            _measure(tokens),
            area or usual.area,
            prompts_of(prompts),
            seed,
        )

    Work(eval_share, seed, store, name, as_json).then_split(maker, data)


def knowledge(
    entities: Annotated[int, typer.Option(min=1, help="How many things are invented.")] = 20,
    facts: Annotated[int, typer.Option(min=1, help="Facts about each.")] = 3,
    naming: Annotated[
        NamingKind, typer.Option(help="Invented names, or one new token for each.")
    ] = NamingKind.names,
    form: Annotated[
        list[FormKind] | None, typer.Option(help="How it is taught; again for both.")
    ] = None,
    documents: Annotated[int, typer.Option(min=1, help="Texts about each thing.")] = 4,
    relations: Annotated[
        Path | None, typer.Option(help="YAML file of relations; else those shipped.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Form of the tokens, {} for the number.")
    ] = None,
    language: Languages = None,
    area: Area = None,
    seed: Seed = 0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make facts about invented things: what teaches them, and what asks for them."""
    from danlu.config.strict_yaml import write_yaml
    from danlu.workshop.produce.abilities.common import made_of_nothing
    from danlu.workshop.produce.abilities.knowledge import FORMS, TOKEN, Knowledge
    from danlu.workshop.produce.abilities.relations import SHIPPED_RELATIONS, Relations

    opened_store = open_store(store)
    forms: Any = tuple(one.value for one in form) if form else FORMS[:1]
    known = Relations.load(relations or SHIPPED_RELATIONS)
    made = {}
    tokens: list[str] = []
    for part in ("train", "eval"):
        operation = Knowledge(
            part,
            entities,
            facts,
            naming.value,
            forms,
            documents,
            languages_of(language),
            known,
            token or TOKEN,
            area or "knowledge",
            seed,
        )
        tokens = operation.new_tokens()
        called = f"{name}-{part}" if name else None
        made[part] = made_of_nothing(opened_store, operation, name=called)
    tell(made, name, as_json, {"new_tokens": tokens} if tokens else {})
    if tokens and not as_json:
        note("for the recipe that trains on them:")
        result(write_yaml({"model": {"new_tokens": tokens}}).rstrip())


def _measure(model: str | None) -> Measure:
    """Return how lengths are counted."""
    from danlu.workshop.produce.abilities.long_context import InCharacters

    if model is None:
        return InCharacters()
    from danlu.models.load import load_tokenizer

    tokenizer = load_tokenizer(model)

    class InTokens:
        unit = "tokens"

        def count(self, text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])

        def settings(self) -> str:
            return f"tokens of {model}"

    return InTokens()


def register(parent: typer.Typer) -> None:
    """Add the commands to those of ``make``."""
    group.command("rag", epilog=RAG_EPILOG)(rag)
    group.command("tools", epilog=TOOLS_EPILOG)(tools)
    group.command("long-context", epilog=LONG_EPILOG)(long_context)
    group.command("knowledge", epilog=KNOWLEDGE_EPILOG)(knowledge)
