"""``danlu data drop``, ``tag``, ``retype`` and ``revise``: edits by hand, with the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.choosing import Ids, MaxLength, MinLength, Tags, TaskTypes, Text, choice_of
from danlu.cli.data.common import AsJson, Data, IfAt, Name, StorePath, apply_and_tell

if TYPE_CHECKING:
    from danlu.workshop.operations.choice import Choice

DROP_EPILOG = """\b
Examples:
  danlu data drop mine --id 4f1d -n mine
  danlu data drop mine --text 'as an AI language model' --reason refusals -n mine
"""
TAG_EPILOG = """\b
Examples:
  danlu data tag mine --add robustness --text 'helo' -n mine
  danlu data tag mine --remove draft --task-type 'math/*' -n mine
"""
RETYPE_EPILOG = """\b
Examples:
  danlu data retype mine math/sums --id 4f1d --id 77aa -n mine
  danlu data retype mine code/python --task-type unlabelled/code -n mine
"""
REVISE_EPILOG = """\b
Examples:
  danlu data revise mine --id 4f1d --message '2=Beijing.' --reason 'wrong city' -n mine
  danlu data revise mine --id 4f1d --answer '1=No.' -n mine
  danlu data revise mine --id 4f1d --texts new.json -n mine --if-at v9ddb0c1122334455

Messages and answers to compare are counted from 1, as 'danlu data show --id' shows them.
"""


def drop(
    data: Data,
    ids: Ids = None,
    task_type: TaskTypes = None,
    tag: Tags = None,
    text: Text = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    reason: Annotated[str, typer.Option(help="Why; stands in the ledger.")] = "",
    name: Name = None,
    if_at: IfAt = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Leave out the records chosen."""
    from danlu.workshop.operations.edits import Drop

    choice = _chosen(choice_of(ids, task_type, tag, text, min_length, max_length))
    apply_and_tell(Drop(choice, reason), data, store=store, name=name, as_json=as_json, if_at=if_at)


def tag(
    data: Data,
    add: Annotated[
        list[str] | None, typer.Option(help="A tag that they get; may be given again.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="A tag that they lose; may be given again.")
    ] = None,
    ids: Ids = None,
    task_type: TaskTypes = None,
    tag: Tags = None,
    text: Text = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    name: Name = None,
    if_at: IfAt = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Tag the records chosen, or all; robustness protects a record from cleaning."""
    from danlu.workshop.operations.edits import Tag

    if not add and not remove:
        raise typer.BadParameter("say --add TAG or --remove TAG")
    choice = choice_of(ids, task_type, tag, text, min_length, max_length)
    operation = Tag(choice, tuple(add or ()), tuple(remove or ()))
    apply_and_tell(operation, data, store=store, name=name, as_json=as_json, if_at=if_at)


def retype(
    data: Data,
    new: Annotated[str, typer.Argument(metavar="TASK_TYPE", help="What they become: area/skill.")],
    ids: Ids = None,
    task_type: TaskTypes = None,
    tag: Tags = None,
    text: Text = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    name: Name = None,
    if_at: IfAt = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Give the records chosen another task type; it must be in the dataset's taxonomy."""
    from danlu.cli.data.common import open_store
    from danlu.errors import StoreError
    from danlu.workshop.data import named_version
    from danlu.workshop.operations.edits import Retype

    choice = _chosen(choice_of(ids, task_type, tag, text, min_length, max_length))
    version = named_version(open_store(store), data)
    taxonomy = version.taxonomy if version else None
    if taxonomy and new not in taxonomy.skills:
        raise StoreError(f"the task type {new!r} is not in the taxonomy.{taxonomy.hint(new)}")
    apply_and_tell(Retype(choice, new), data, store=store, name=name, as_json=as_json, if_at=if_at)


def revise(
    data: Data,
    id_: Annotated[str, typer.Option("--id", help="The record.")],
    message: Annotated[
        list[str] | None, typer.Option(help="NUMBER=TEXT of a message; may be given again.")
    ] = None,
    answer: Annotated[
        list[str] | None, typer.Option(help="NUMBER=TEXT of an answer to compare; likewise.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='The same as JSON: {"messages": {"2": TEXT}, "answers": {"1": TEXT}}.',
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; stands in the ledger.")] = "",
    name: Name = None,
    if_at: IfAt = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Give messages of one record another text."""
    from danlu.workshop.operations.edits import Revise

    messages, answers = _numbered("--message", message), _numbered("--answer", answer)
    if texts is not None:
        read = _read_texts(texts)
        messages, answers = (*messages, *read["messages"]), (*answers, *read["answers"])
    if not messages and not answers:
        raise typer.BadParameter("say --message NUMBER=TEXT, --answer NUMBER=TEXT or --texts FILE")
    operation = Revise(id_, messages, answers, reason)
    apply_and_tell(operation, data, store=store, name=name, as_json=as_json, if_at=if_at)


def _numbered(option: str, given: list[str] | None) -> tuple[tuple[int, str], ...]:
    """Return texts by their number.

    Raises:
        BadParameter: If one has no number.
    """
    found = []
    for one in given or []:
        number, equals, text = one.partition("=")
        if not equals or not number.isdecimal():
            raise typer.BadParameter(f"{one!r} must be NUMBER=TEXT", param_hint=option)
        found.append((int(number), text))
    return tuple(found)


def _read_texts(path: Path) -> dict[str, tuple[tuple[int, str], ...]]:
    """Read ``{"messages": {NUMBER: TEXT}, "answers": {NUMBER: TEXT}}``; either may be left out.

    Raises:
        BadParameter: If it is something else.
    """
    shape = 'must be JSON: {"messages": {"2": TEXT}, "answers": {"1": TEXT}}'
    try:
        tree = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path}: {error}; it {shape}", param_hint="--texts") from error
    kinds = ("messages", "answers")
    if not isinstance(tree, dict) or set(tree) - set(kinds):
        raise typer.BadParameter(f"{path} {shape}", param_hint="--texts")
    found = {}
    for kind in kinds:
        own = tree.get(kind, {})
        fits = isinstance(own, dict) and all(
            number.isdecimal() and isinstance(text, str) for number, text in own.items()
        )
        if not fits:
            raise typer.BadParameter(f"{path} {shape}", param_hint="--texts")
        found[kind] = tuple((int(number), text) for number, text in own.items())
    return found


def _chosen(choice: Choice) -> Choice:
    """Refuse a choice of everything.

    Raises:
        BadParameter: If nothing says which records are meant.
    """
    if choice.is_everything:
        raise typer.BadParameter("say which records: --id, --task-type, --tag, --text or a length")
    return choice


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("drop", epilog=DROP_EPILOG)(drop)
    group.command("tag", epilog=TAG_EPILOG)(tag)
    group.command("retype", epilog=RETYPE_EPILOG)(retype)
    group.command("revise", epilog=REVISE_EPILOG)(revise)
