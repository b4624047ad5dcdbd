"""``danlu data make`` for special abilities: rag, tools, long-context, topics and the like.

Most need no model. Each gives a training set, and with ``--eval-share`` an evaluation set beside it
that shares no prompt with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.asking import Asked, opened, with_model
from danlu.cli.data.common import (
    AsJson,
    Name,
    StorePath,
    named,
    open_store,
    print_counts,
    progress_bar,
    tell_version,
)
from danlu.cli.data.make import Language, group
from danlu.cli.output import note, result, result_json

if TYPE_CHECKING:
    from danlu.workshop.produce.abilities.long_context import Measure
    from danlu.workshop.produce.common import Asking, Reject
    from danlu.workshop.produce.prompts import Language as LanguageName
    from danlu.workshop.produce.prompts import Prompts
    from danlu.workshop.store.decision import Operation
    from danlu.workshop.store.store import Store
    from danlu.workshop.store.version import Version

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
TOPICS_EPILOG = """\b
Examples:
  danlu data make topics tasks -n topics --eval-share 0.1
  danlu data make topics tasks --kind return --each 2 -n topics

Without data it joins the seed tasks that come with Danlu.
"""
SYSTEM_EPILOG = """\b
Examples:
  danlu data make system tasks -n system --eval-share 0.1
  danlu data make system tasks --kind form --each 2 -n system

Without data it takes the seed tasks that come with Danlu.
"""
ROBUSTNESS_EPILOG = """\b
Examples:
  danlu data make robustness tasks -n robust --eval-share 0.1
  danlu data make robustness tasks --kind typos --kind homophones --each 2 -n robust
  danlu data make robustness tasks --task-type 'reasoning/*' --in-place -n robust
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


class TopicKind(StrEnum):
    """How a dialogue ends."""

    switch = "switch"
    turn_back = "return"


class SystemKind(StrEnum):
    """What a system prompt is for."""

    form = "form"
    facts = "facts"
    ignored = "ignored"


class Mistyped(StrEnum):
    """A way to mistype."""

    typos = "typos"
    swaps = "swaps"
    drops = "drops"
    homophones = "homophones"
    pinyin = "pinyin"
    english = "english"
    width = "width"
    punctuation = "punctuation"
    case = "case"


class NamingKind(StrEnum):
    """What invented things are called."""

    names = "names"
    tokens = "tokens"


class FormKind(StrEnum):
    """How facts are taught."""

    questions = "questions"
    documents = "documents"


DataOrNone = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DATA...]", help="Names or ids of datasets; or files, folders, globs."),
]
DataSome = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help="Names or ids of datasets; or files, folders, globs."),
]
EvalShare = Annotated[
    float, typer.Option(help="Hold so much out: makes NAME-train and NAME-eval. 0: one dataset.")
]
Languages = Annotated[
    list[Language] | None, typer.Option("--language", help="In which language; again for both.")
]
Each = Annotated[int, typer.Option(min=1, help="How many of each kind for each record.")]
Area = Annotated[str | None, typer.Option(help="First level of the task types; else the usual.")]
Seed = Annotated[int, typer.Option(help="Same seed, same draws.")]
PromptsFolder = Annotated[
    Path | None, typer.Option(help="Folder of prompt files that replace the shipped ones.")
]
RejectsFile = Annotated[
    Path | None, typer.Option(help="JSONL file for all that was made and not taken.")
]


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

    work = _Work(eval_share, asked.seed, store, name, as_json, asked.rejects)
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
                _languages(language),
                asked.sampling(),
                area or "tools",
                asked.own_prompts(),
                asked.seed,
            )
        return ToolCalls(
            count,
            cases or CASES,
            _languages(language),
            others,
            asking,
            asked.sampling(),
            area or "tools",
            asked.own_prompts(),
            asked.seed,
        )

    work = _Work(eval_share, asked.seed, store, name, as_json, asked.rejects)
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
            _languages(language),
            _measure(tokens),
            area or usual.area,
            _prompts(prompts),
            seed,
        )

    _Work(eval_share, seed, store, name, as_json).then_split(maker, data)


def topics(
    data: DataOrNone = None,
    kind: Annotated[
        list[TopicKind] | None, typer.Option(help="switch or return; again for both.")
    ] = None,
    each: Each = 1,
    most_before: Annotated[int, typer.Option(min=1, help="Most topics before the last.")] = 2,
    area: Area = None,
    seed: Seed = 0,
    prompts: PromptsFolder = None,
    rejects: RejectsFile = None,
    eval_share: EvalShare = 0.0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make dialogues that change the topic, and that come back to what was told before."""
    from danlu.workshop.produce.abilities.topics import TURNS, Topics
    from danlu.workshop.produce.self_instruct import SEEDS

    def maker(asking: Asking | None) -> Operation:
        kinds: Any = tuple(one.value for one in kind) if kind else TURNS
        return Topics(kinds, each, most_before, area or "dialogue", _prompts(prompts), seed)

    work = _Work(eval_share, seed, store, name, as_json, rejects)
    work.of_records(maker, data or [str(SEEDS)])


def system(
    data: DataOrNone = None,
    kind: Annotated[
        list[SystemKind] | None, typer.Option(help="form, facts or ignored; again for more.")
    ] = None,
    each: Each = 1,
    area: Area = None,
    seed: Seed = 0,
    prompts: PromptsFolder = None,
    rejects: RejectsFile = None,
    eval_share: EvalShare = 0.0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make prompts where the system prompt matters, and where it must be ignored."""
    from danlu.workshop.produce.abilities.system_prompts import SYSTEM_KINDS, SystemPrompts
    from danlu.workshop.produce.self_instruct import SEEDS

    def maker(asking: Asking | None) -> Operation:
        kinds: Any = tuple(one.value for one in kind) if kind else SYSTEM_KINDS
        return SystemPrompts(kinds, each, area or "system", _prompts(prompts), seed)

    work = _Work(eval_share, seed, store, name, as_json, rejects)
    work.of_records(maker, data or [str(SEEDS)])


def robustness(
    data: DataSome,
    kind: Annotated[
        list[Mistyped] | None, typer.Option(help="One way to mistype; again for more.")
    ] = None,
    each: Annotated[int, typer.Option(min=1, help="Variants of each record.")] = 1,
    strength: Annotated[
        float, typer.Option(help="How much is changed; 1 is one to three places in a line.")
    ] = 1.0,
    task_type: Annotated[
        list[str] | None, typer.Option(help="Only of task types like this; again for more.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Edit the records, rather than add variants.")
    ] = False,
    seed: Seed = 0,
    rejects: RejectsFile = None,
    eval_share: EvalShare = 0.0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make mistyped variants of prompts, with the same answers, tagged robustness."""
    from danlu.workshop.produce.abilities.robustness import KINDS, Robustness

    def maker(asking: Asking | None) -> Operation:
        kinds: Any = tuple(one.value for one in kind) if kind else KINDS
        return Robustness(kinds, each, strength, tuple(task_type or ("*",)), in_place, seed)

    _Work(eval_share, seed, store, name, as_json, rejects).of_records(maker, data)


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
            _languages(language),
            known,
            token or TOKEN,
            area or "knowledge",
            seed,
        )
        tokens = operation.new_tokens()
        called = f"{name}-{part}" if name else None
        made[part] = made_of_nothing(opened_store, operation, name=called)
    _tell(made, name, as_json, {"new_tokens": tokens} if tokens else {})
    if tokens and not as_json:
        note("for the recipe that trains on them:")
        result(write_yaml({"model": {"new_tokens": tokens}}).rstrip())


class _Work:
    """Makes versions by a maker, and prints what came of it."""

    def __init__(
        self,
        share: float,
        seed: int,
        store: Path | None,
        name: str | None,
        as_json: bool,
        rejects: Path | None = None,
    ) -> None:
        from danlu.workshop.store.names import check_name

        if not 0 <= share < 1:
            raise typer.BadParameter(
                f"{share:g} is no share; it is from 0 to below 1", param_hint="--eval-share"
            )
        if name is not None:
            check_name(name)
        self._share = share
        self._seed = seed
        self._store = store
        self._name = name
        self._as_json = as_json
        self._rejects = rejects

    def of_records(
        self,
        maker: Callable[[Asking | None], Operation],
        data: Sequence[str],
        asked: Asked | None = None,
    ) -> None:
        """Split the data, and make something of each part."""
        from danlu.workshop.data import as_version
        from danlu.workshop.operations.split import split
        from danlu.workshop.produce.abilities.evaluation import Expecting

        store = open_store(self._store)
        parts: dict[str, Version] = {"": as_version(store, data)}
        if self._share:
            cut = split(store, parts[""], share=self._share, seed=self._seed)
            parts = cut._asdict()
        made: dict[str, Version] = {}
        rows: list[Reject] = []
        is_new = False
        with _asking(asked, store) as asking, _progress(asking) as progress:
            for part, parent in parts.items():
                operation = maker(asking)
                made[part] = store.apply(operation, parent, progress=progress)
                is_new = is_new or made[part].is_new
                if part == "eval":  # What was given and kept is asked too.
                    made[part] = store.apply(Expecting(), made[part])
                rows += _rejected(operation)
        self._named(store, made)
        self._told(made, rows, is_new=is_new)

    def then_split(
        self,
        maker: Callable[[Asking | None], Operation],
        data: Sequence[str] | None,
        asked: Asked | None = None,
        after: Operation | None = None,
    ) -> None:
        """Make something, of data or of nothing, and split that.

        Args:
            maker: What makes it.
            data: Of what.
            asked: Who is asked.
            after: Done to the evaluation part.
        """
        from danlu.workshop.data import as_version
        from danlu.workshop.operations.split import split
        from danlu.workshop.produce.abilities.common import made_of_nothing

        store = open_store(self._store)
        with _asking(asked, store) as asking, _progress(asking) as progress:
            operation = maker(asking)
            if data:
                parent = as_version(store, data)
                whole = store.apply(operation, parent, progress=progress)
            else:
                whole = made_of_nothing(store, operation, progress=progress)
        made = {"": whole}
        if self._share:
            # Only equal prompts stay together: those of one form are alike and yet different.
            cut = split(store, whole, share=self._share, seed=self._seed, near=1)
            made = cut._asdict()
            if after:
                made["eval"] = store.apply(after, made["eval"])
        self._named(store, made)
        self._told(made, _rejected(operation), is_new=whole.is_new)

    def _named(self, store: Store, made: dict[str, Version]) -> None:
        for part, version in made.items():
            if self._name:
                store.name(version, f"{self._name}-{part}" if part else self._name)

    def _told(self, made: dict[str, Version], rows: Sequence[Reject], *, is_new: bool) -> None:
        from danlu.workshop.produce.common import Rejects

        _tell(made, self._name, self._as_json)
        rejects = Rejects(list(rows))
        for rule, count in rejects.counts().items():
            note(f"{count:,} not taken: {rule}")
        if self._rejects and is_new:
            rejects.write(self._rejects)
        elif self._rejects:
            note(f"all was there, so nothing was made anew: {self._rejects} is not written")


def _tell(
    made: dict[str, Version],
    name: str | None,
    as_json: bool,
    more: dict[str, Any] | None = None,
) -> None:
    """Print versions that were made: one as every command does, two side by side."""
    if list(made) == [""]:
        tell_version(made[""], name, as_json)
        return
    if as_json:
        told: dict[str, Any] = {
            part: {"id": version.id, "name": f"{name}-{part}" if name else None}
            | version.manifest.model_dump(mode="json", exclude={"id"})
            for part, version in made.items()
        }
        result_json(told | (more or {}))
        return
    for part, version in made.items():
        result(f"{part}:")
        print_counts(version)
    for part, version in made.items():
        called = f"{name}-{part} = " if name else f"{part}: "
        known = "" if version.is_new else ", which was there already"
        note(f"{called}{version.id}{known}: {len(version):,} records in {version.path}")


def _asking(asked: Asked | None, store: Store) -> Any:
    """Open an engine, if a model is named."""
    if asked is None or not asked.model:
        if asked is not None and asked.url:
            raise typer.BadParameter("name the model at the endpoint", param_hint="--model")
        return nullcontext(None)
    return opened(asked, store, "asking")


def _progress(asking: Asking | None) -> Any:
    """Show a bar, unless the engine shows one."""
    from danlu.workshop.store.store import no_progress

    return progress_bar() if asking is None else nullcontext(no_progress)


def _rejected(operation: Any) -> list[Reject]:
    return operation.rejects.rows if hasattr(operation, "rejects") else []


def _languages(given: list[Language] | None) -> tuple[LanguageName, ...]:
    return tuple(one.value for one in given or Language)


def _prompts(folder: Path | None) -> Prompts:
    from danlu.workshop.produce.prompts import Prompts

    return Prompts(folder)


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
    group.command("topics", epilog=TOPICS_EPILOG)(topics)
    group.command("system", epilog=SYSTEM_EPILOG)(system)
    group.command("robustness", epilog=ROBUSTNESS_EPILOG)(robustness)
    group.command("knowledge", epilog=KNOWLEDGE_EPILOG)(knowledge)
