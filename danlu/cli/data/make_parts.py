"""``danlu data make …``: hard tasks taken apart, and texts set beside others."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.asking import Asked, with_model
from danlu.cli.data.common import AsJson, Data, DataMany, Name, StorePath
from danlu.cli.data.make import group, make_version

if TYPE_CHECKING:
    from danlu.workshop.produce.engine import Engine
    from danlu.workshop.store.decision import Operation

DECOMPOSE_EPILOG = """\b
Examples:
  danlu data make decompose hard.jsonl --url http://localhost:8000/v1 -m strong -n solved
  danlu data make decompose hard --most-steps 4 --step-type reasoning/step --url ... -m strong

A task without a plan, or with a step without an answer, stays as it was; the ledger says why.
"""
SIMILARITY_EPILOG = """\b
Examples:
  danlu data make similarity-pairs questions --url http://localhost:8000/v1 -m strong -n pairs
  danlu data make similarity-pairs questions --form ranked --hard 2 --easy 4 --url ... -m strong

Pairs train a classifier ('danlu train classify'), rankings a reward model ('danlu train reward').
"""


class Form(StrEnum):
    """What is made of a text and those beside it."""

    pairs = "pairs"
    ranked = "ranked"


@with_model
def decompose(
    data: Data,
    asked: Asked,
    most_steps: Annotated[int, typer.Option(min=2, help="Most steps that a plan may have.")] = 6,
    steps: Annotated[
        bool, typer.Option("--steps/--whole-only", help="Make records of the steps, too.")
    ] = True,
    step_type: Annotated[
        str, typer.Option(help="Task type of the steps; else that of their task.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Answer anew what is answered.")] = False,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Answer hard tasks by steps whose outputs feed the next."""
    from danlu.workshop.produce.decompose import Decompose

    def maker(asking: Engine) -> Operation:
        sampling = asked.sampling()
        return Decompose(
            asking,
            most_steps,
            steps,
            step_type,
            again,
            sampling,
            sampling,
            asked.own_prompts(),
        )

    make_version(maker, data, asked, store, name, as_json)


@with_model
def similarity_pairs(
    data: DataMany,
    asked: Asked,
    paraphrases: Annotated[int, typer.Option(min=0, help="Positives of each text.")] = 1,
    hard: Annotated[int, typer.Option(min=0, help="Same topic, other meaning.")] = 1,
    easy: Annotated[int, typer.Option(min=0, help="Other texts of the data.")] = 1,
    form: Annotated[
        Form, typer.Option(help="A record for each pair, or one ranking for each text.")
    ] = Form.pairs,
    task_type: Annotated[
        str, typer.Option(help="Of what is made, area/skill; else that of the text.")
    ] = "",
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Let the model compare the meanings.")
    ] = True,
    keep_texts: Annotated[
        bool, typer.Option("--keep-texts", help="Keep the given records in the result.")
    ] = False,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make pairs of texts that mean the same, nearly the same, or something else."""
    from danlu.workshop.produce.similarity import SimilarityPairs

    def maker(asking: Engine) -> Operation:
        return SimilarityPairs(
            asking,
            paraphrases,
            hard,
            easy,
            form.value,
            task_type,
            sampling=asked.sampling(),
            verify=verify,
            keep_texts=keep_texts,
            prompts=asked.own_prompts(),
            seed=asked.seed,
        )

    make_version(maker, data, asked, store, name, as_json)


def register(parent: typer.Typer) -> None:
    """Add the commands to those that make data."""
    group.command("decompose", epilog=DECOMPOSE_EPILOG)(decompose)
    group.command("similarity-pairs", epilog=SIMILARITY_EPILOG)(similarity_pairs)
