"""``danlu data make …``: data made from documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.asking import Asked, with_model
from danlu.cli.data.common import AsJson, Name, StorePath
from danlu.cli.data.make import group, make_version

if TYPE_CHECKING:
    from danlu.workshop.produce.engine import Engine
    from danlu.workshop.store.decision import Operation

DOC2QA_EPILOG = """\b
Examples:
  danlu data make doc2qa pages/*.txt --url http://localhost:8000/v1 -m strong -n questions
  danlu data make doc2qa pages --questions 6 --closed-book --url ... -m strong
"""
DOC2CONV_EPILOG = """\b
Examples:
  danlu data make doc2conv pages/*.txt --url http://localhost:8000/v1 -m strong -n talks
  danlu data make doc2conv pages --turns 6 --each 2 --closed-book --url ... -m strong
"""
SUMMARISE_EPILOG = """\b
Examples:
  danlu data make summarise pages/*.txt --url http://localhost:8000/v1 -m strong -n summaries
  danlu data make summarise pages --length 30 --length 80 --tolerance 0.2 --url ... -m strong

Lengths are in words; a Chinese character counts as one.
"""

Documents = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help="Datasets or files of documents (text)."),
]
Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Let the model check each answer.")
]
Chunk = Annotated[int, typer.Option(min=1, help="Longest piece that is shown at a time.")]
ClosedBook = Annotated[
    bool, typer.Option("--closed-book", help="Leave the document out of the prompts.")
]
KeepDocuments = Annotated[
    bool, typer.Option("--keep-documents", help="Keep the documents in the result.")
]


@with_model
def doc2qa(
    data: Documents,
    asked: Asked,
    questions: Annotated[
        int, typer.Option(min=1, help="Questions asked for from each piece of a document.")
    ] = 4,
    chunk_characters: Chunk = 1500,
    verify: Verify = True,
    closed_book: ClosedBook = False,
    keep_documents: KeepDocuments = False,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make questions from documents, each answer with the sentence that proves it."""
    from danlu.workshop.produce.doc2qa import DocumentQuestions

    def maker(asking: Engine) -> Operation:
        return DocumentQuestions(
            asking,
            questions,
            chunk_characters,
            asked.sampling(),
            verify=verify,
            with_document=not closed_book,
            keep_documents=keep_documents,
            prompts=asked.own_prompts(),
        )

    make_version(maker, data, asked, store, name, as_json)


@with_model
def doc2conv(
    data: Documents,
    asked: Asked,
    turns: Annotated[int, typer.Option(min=1, help="Questions in one conversation.")] = 4,
    least_turns: Annotated[
        int, typer.Option(min=1, help="Fewest that must hold; the rest is cut off.")
    ] = 2,
    each: Annotated[
        int, typer.Option(min=1, help="Conversations from each piece of a document.")
    ] = 1,
    chunk_characters: Chunk = 1500,
    verify: Verify = True,
    closed_book: ClosedBook = False,
    keep_documents: KeepDocuments = False,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make conversations about documents, each answer with the sentence that proves it."""
    from danlu.workshop.produce.doc2conv import DocumentConversations

    def maker(asking: Engine) -> Operation:
        return DocumentConversations(
            asking,
            turns,
            least_turns,
            each,
            chunk_characters,
            asked.sampling(),
            verify=verify,
            with_document=not closed_book,
            keep_documents=keep_documents,
            prompts=asked.own_prompts(),
        )

    make_version(maker, data, asked, store, name, as_json)


@with_model
def summarise(
    data: Documents,
    asked: Asked,
    length: Annotated[
        list[int] | None, typer.Option(min=1, help="Words asked for; again for more; else 50, 100.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the length by which it may be missed.")
    ] = 0.25,
    most_copied: Annotated[
        float, typer.Option(min=0, max=1, help="Highest share that is copied from the document.")
    ] = 0.5,
    chunk_characters: Chunk = 6000,
    reasks: Annotated[
        int, typer.Option(min=0, help="How often a wrong summary is asked for again.")
    ] = 2,
    verify: Verify = True,
    keep_documents: KeepDocuments = False,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Summarise documents, in an asked length and with nothing that they do not say."""
    from danlu.workshop.produce.summarise import Summaries

    def maker(asking: Engine) -> Operation:
        return Summaries(
            asking,
            tuple(length or (50, 100)),
            tolerance,
            most_copied,
            chunk_characters,
            asked.sampling(),
            reasks,
            verify,
            keep_documents,
            prompts=asked.own_prompts(),
            seed=asked.seed,
        )

    make_version(maker, data, asked, store, name, as_json)


def register(parent: typer.Typer) -> None:
    """Add the commands to those that make data."""
    group.command("doc2qa", epilog=DOC2QA_EPILOG)(doc2qa)
    group.command("doc2conv", epilog=DOC2CONV_EPILOG)(doc2conv)
    group.command("summarise", epilog=SUMMARISE_EPILOG)(summarise)
