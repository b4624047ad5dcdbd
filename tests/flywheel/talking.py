"""Sessions as a service writes them down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.records import Message
from danlu.records.capture import Feedback, Turn, Vote, encode_capture


def session(name: str, *texts: str, system: str = "", **more: Any) -> list[Turn]:
    """One turn per answer, each with all that was said before it; ids are ``name-0`` ..."""
    said = [Message("system", system)] if system else []
    turns: list[Turn] = []
    for number, text in enumerate(texts):
        said.append(Message("assistant" if number % 2 else "user", text))
        if number % 2:
            time = f"2026-11-21T10:{len(turns):02}:00.000Z"
            turns.append(Turn(f"{name}-{len(turns)}", tuple(said), time, name, **more))
    return turns


def down(turn: str, voter: str = "v", **more: Any) -> Feedback:
    return Feedback(turn, Vote(voter, False, **more))


def up(turn: str, voter: str = "v") -> Feedback:
    return Feedback(turn, Vote(voter, True))


def write_log(path: Path, *entries: Turn | Feedback, mode: str = "ab") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        for entry in entries:
            file.write(encode_capture(entry))
    return path
