"""Conversations written out as a transcript: Human and Assistant, each turn after a blank line.

Not a format by itself, but a way in which others, such as preference pairs, write a conversation in
one text. Named after Anthropic's hh-rlhf data (Bai et al. 2022, arXiv:2204.05862).
"""

from __future__ import annotations

import re

from danlu.records.record import Message

ROLES = {"Human": "user", "Assistant": "assistant"}

_MARK = re.compile(r"(?:\A\s*|\n[ \t\r]*\n)(Human|Assistant):")
_ANSWER = re.compile(r"\n[ \t\r]*\nAssistant:")


def is_transcript(text: str) -> bool:
    r"""Whether a text begins with a Human's turn and has an Assistant's mark after it.

    Example:
        >>> is_transcript("\n\nHuman: 你好\n\nAssistant: 你好！"), is_transcript("Human: who?")
        (True, False)
    """
    return text.lstrip().startswith("Human:") and _ANSWER.search(text) is not None


def read_transcript(text: str) -> tuple[Message, ...]:
    r"""Take a transcript apart; white space around a turn belongs to the transcript.

    Args:
        text: For which ``is_transcript`` is true.

    Example:
        >>> [message.content for message in read_transcript("\n\nHuman: Hi\n\nAssistant: Hello!")]
        ['Hi', 'Hello!']
    """
    before, *parts = _MARK.split(text)
    assert not before.strip(), text  # is_transcript has been asked
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple([Message(ROLES[speaker], content.strip()) for speaker, content in turns])
