"""What of a record is its prompt, and what its answer, when records are compared."""

from __future__ import annotations

import json
from typing import NamedTuple

from danlu.records import Message, Record


class Parts(NamedTuple):
    """The texts of a record, as they are.

    Attributes:
        frame: The system prompt and the declared tools: another frame, another question.
        prompt: All turns before the answer but those of the system; a document's whole text.
        answer: The last turn if it is the assistant's, or the responses to choose from.
    """

    frame: str
    prompt: str
    answer: str


def parts(record: Record) -> Parts:
    """Take a record apart.

    Example:
        >>> turns = (Message("system", "Be brief."), Message("user", "Hi"))
        >>> parts(Record("1", "a/b", (*turns, Message("assistant", "Hello"))))
        Parts(frame='Be brief.', prompt='Hi', answer='Hello')
    """
    turns = list(record.messages)
    answers = [response.content for response in record.responses]
    if turns and turns[-1].role == "assistant" and not answers:
        answers.append(_text(turns.pop()))
    frame = [_text(turn) for turn in turns if turn.role == "system"]
    if record.tools:
        frame.append(_json(list(record.tools)))
    prompt = [_text(turn) for turn in turns if turn.role != "system"]
    return Parts("\n".join(frame), "\n".join(prompt), "\n".join(answers))


def _text(message: Message) -> str:
    calls = message.extra.get("tool_calls")
    return (message.content or "") + (_json(calls) if calls else "")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
