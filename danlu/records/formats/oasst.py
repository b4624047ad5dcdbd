"""OpenAssistant: trees of messages in which people have ranked the replies to one another.

A row is a tree and gives a record for each message that has two or more ranked answers of the
assistant (Köpf et al. 2023, arXiv:2304.07327). Answers without a rank cannot be compared with the
others and are left out; so is what a node says besides text, role, rank, language and id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import Format, Parts, kind, names
from danlu.records.record import Message, Response

ROLES = {"prompter": "user", "assistant": "assistant"}


def recognise(row: Mapping[str, Any]) -> bool:
    """A tree, or a single message of the flat export, which is refused with a reason."""
    prompt = row.get("prompt")
    is_tree = isinstance(prompt, Mapping) and "text" in prompt and _has_role(prompt)
    return is_tree or _is_flat(row)


def parse(row: dict[str, Any]) -> Parts:
    """Take the tree apart; records come in the order of the tree, parents first.

    Raises:
        RecordError: If a node is broken, none has two ranked answers, or the row is no tree.
    """
    if _is_flat(row):
        raise RecordError(
            "the row is one message of OpenAssistant's flat export, and its conversation lies in "
            "other rows. Take the export of trees instead: the file that ends in .trees.jsonl.gz."
        )
    root = row.pop("prompt", None)
    if not isinstance(root, Mapping):
        raise RecordError(f"there is no tree below 'prompt'; the row has {names(row)}.")
    found: list[Parts] = []
    pending: list[tuple[Any, tuple[Message, ...]]] = [(root, ())]
    while pending:
        node, before = pending.pop()
        path = (*before, _message(node))
        replies = _replies(node)
        if path[-1].role == "user" and (responses := _ranked(replies)):
            found.append(_parts(node, path, responses))
        pending += [(reply, path) for reply in reversed(replies)]
    if not found:
        raise RecordError(
            "no message of the tree has two or more ranked answers. Pass such trees over with "
            "data.on_bad_record: skip."
        )
    return found[0]._replace(more=tuple(found[1:]))


def _is_flat(row: Mapping[str, Any]) -> bool:
    return "message_id" in row and "text" in row and _has_role(row)


def _has_role(node: Mapping[str, Any]) -> bool:
    role = node.get("role")
    return isinstance(role, str) and role in ROLES


def _parts(
    node: Mapping[str, Any], path: tuple[Message, ...], responses: tuple[Response, ...]
) -> Parts:
    name, language = node.get("message_id"), node.get("lang")
    return Parts(
        path,
        responses=responses,
        meta={"lang": language} if language else {},
        id=name if isinstance(name, str) and name else None,
    )


def _message(node: Any) -> Message:
    if not isinstance(node, Mapping):
        raise RecordError(f"a node of the tree is {kind(node)}; it must be an object.")
    text, role = node.get("text"), node.get("role")
    if not isinstance(text, str):
        raise RecordError(f"{_name(node)} has no 'text'.")
    if not _has_role(node):
        raise RecordError(
            f"the role of {_name(node)} is {role!r}; it must be {' or '.join(ROLES)}."
        )
    return Message(ROLES[node["role"]], text)


def _replies(node: Mapping[str, Any]) -> list[Any]:
    replies = node.get("replies")
    if replies is None:
        return []
    if not isinstance(replies, list):
        raise RecordError(f"'replies' of {_name(node)} is {kind(replies)}; it must be a list.")
    return replies


def _ranked(replies: list[Any]) -> tuple[Response, ...]:
    """Return the assistant's ranked answers, best first; none if there are fewer than two."""
    responses = []
    for reply in replies:
        message, rank = _message(reply), reply.get("rank")
        if message.role != "assistant" or rank is None:
            continue
        is_number = isinstance(rank, int | float) and not isinstance(rank, bool)
        if not is_number or rank != rank // 1 or rank < 0:
            raise RecordError(f"the rank of {_name(reply)} is {rank!r}; it must be 0, 1, 2 ...")
        responses.append(Response(message.content or "", int(rank) + 1))
    responses.sort(key=lambda response: response.rank or 0)
    return tuple(responses) if len(responses) > 1 else ()


def _name(node: Mapping[str, Any]) -> str:
    name = node.get("message_id")
    return "a message of the tree" if name is None else f"message {name!r}"


OASST = Format(
    name="oasst",
    summary="OpenAssistant's trees of ranked replies; a record for each ranked message.",
    columns={
        "prompt": "The tree: text, role (prompter, assistant), rank (0 is best), replies, lang.",
    },
    sample={
        "prompt": {
            "message_id": "m1",
            "text": "How do I keep basil fresh?",
            "role": "prompter",
            "lang": "en",
            "replies": [
                {"text": "Put its stems in water.", "role": "assistant", "rank": 0},
                {"text": "Eat it at once.", "role": "assistant", "rank": 1},
            ],
        }
    },
    recognise=recognise,
    parse=parse,
)
