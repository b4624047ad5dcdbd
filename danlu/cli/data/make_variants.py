"""``danlu data make`` for what is made of given records: topics, system prompts, typing errors.

No model is asked. With ``--eval-share`` the records are split first, and each part made of its own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.common import AsJson, Name, StorePath
from danlu.cli.data.make import group
from danlu.cli.data.making import (
    Area,
    DataOrNone,
    DataSome,
    Each,
    EvalShare,
    PromptsFolder,
    RejectsFile,
    Seed,
    Work,
    prompts_of,
)

if TYPE_CHECKING:
    from danlu.workshop.produce.common import Asking
    from danlu.workshop.store.decision import Operation

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
        return Topics(kinds, each, most_before, area or "dialogue", prompts_of(prompts), seed)

    work = Work(eval_share, seed, store, name, as_json, rejects)
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
        return SystemPrompts(kinds, each, area or "system", prompts_of(prompts), seed)

    work = Work(eval_share, seed, store, name, as_json, rejects)
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

    Work(eval_share, seed, store, name, as_json, rejects).of_records(maker, data)


def register(parent: typer.Typer) -> None:
    """Add the commands to those of ``make``."""
    group.command("topics", epilog=TOPICS_EPILOG)(topics)
    group.command("system", epilog=SYSTEM_EPILOG)(system)
    group.command("robustness", epilog=ROBUSTNESS_EPILOG)(robustness)
