"""Many short instructions out of a few thousand: the benchmarks' data of the workshop.

Every instruction is one of the files' own, or made of them in one of three ways, in equal parts as
far as the seed has it: *touched* (another number, one or two words, width, case, traditional
characters, punctuation: near-duplicates), *reworded* (about a third of the words exchanged for
others of the same files), or *spliced* (the beginning of one and the end of another, reworded:
mostly new).
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from bench.batches import BUNDLED, ROOT
from bench.cases import SEED
from danlu.records import Message, Record
from danlu.workshop.likeness.text import has_han, units

SHARED = ROOT.parent / "shared" / "data"
FILES = ("seed_tasks.jsonl", "alpaca_en_demo.json", "alpaca_zh_demo.json")
LONGEST = 400
"""Instructions of more characters are not short."""


def instructions(folder: Path = SHARED) -> tuple[str, list[str]]:
    """Return where the instructions are from, and each once; the bundled ones in their absence."""
    files = [folder / name for name in FILES]
    if all(file.is_file() for file in files):
        found = [text for file in files for text in _texts(file)]
        return ", ".join(FILES), list(dict.fromkeys(text for text in found if len(text) <= LONGEST))
    rows = [json.loads(line) for line in BUNDLED.read_text("utf-8").splitlines()]
    users = [m["content"] for row in rows for m in row["messages"] if m["role"] == "user"]
    return BUNDLED.name, list(dict.fromkeys(users))


def varied_instructions(count: int, seed: int = SEED, folder: Path = SHARED) -> list[str]:
    """Make so many instructions; the same ones for the same seed."""
    draw = random.Random(seed)
    _, texts = instructions(folder)
    english = _Language([text for text in texts if not has_han(text)], " ")
    chinese = _Language([text for text in texts if has_han(text)], "")
    languages = [language for language in (english, chinese) for _ in language.texts]
    made = list(texts[:count])
    while len(made) < count:
        language = languages[draw.randrange(len(languages))]
        way = draw.choice((language.touched, language.reworded, language.spliced))
        made.append(way(draw))
    draw.shuffle(made)
    return made


def varied_records(count: int, seed: int = SEED, folder: Path = SHARED) -> list[Record]:
    """Make so many records, of one task type, with an instruction each and a short answer."""
    return [
        Record(
            f"v{number}",
            "bench/instructions",
            (Message("user", text), Message("assistant", f"{number}.")),
        )
        for number, text in enumerate(varied_instructions(count, seed, folder))
    ]


def _texts(file: Path) -> list[str]:
    text = file.read_text("utf-8")
    rows = json.loads(text) if file.suffix == ".json" else map(json.loads, text.splitlines())
    return [row["instruction"].strip() for row in rows]


class _Language:
    """Instructions of one language, and the ways to make others of them."""

    def __init__(self, texts: list[str], space: str) -> None:
        self.texts, self.space = texts, space
        self.pieces = [text.split(" ") if space else list(text) for text in texts]
        self.words = [piece for pieces in self.pieces for piece in pieces if units(piece)]

    def touched(self, draw: random.Random) -> str:
        pieces = list(draw.choice(self.pieces))
        kind = draw.randrange(4)
        if kind == 0:
            return self._joined(pieces).translate(_WIDE)
        if kind == 1:
            return self._joined(pieces).upper().translate(_TRADITIONAL)
        for _ in range(kind - 1):
            pieces[draw.randrange(len(pieces))] = draw.choice(self.words)
        numbered = [place for place, piece in enumerate(pieces) if piece.isdecimal()]
        for place in numbered:
            pieces[place] = str(draw.randrange(1000))
        return self._joined(pieces)

    def reworded(self, draw: random.Random) -> str:
        return self._joined(self._exchanged(list(draw.choice(self.pieces)), draw))

    def spliced(self, draw: random.Random) -> str:
        one, other = draw.choice(self.pieces), draw.choice(self.pieces)
        pieces = one[: (len(one) + 1) // 2] + other[len(other) // 2 :]
        return self._joined(self._exchanged(pieces, draw))

    def _exchanged(self, pieces: list[str], draw: random.Random) -> list[str]:
        return [draw.choice(self.words) if draw.random() < 1 / 3 else piece for piece in pieces]

    def _joined(self, pieces: list[str]) -> str:
        return self.space.join(pieces)


_WIDE = {ord(one): ord(one) + 0xFEE0 for one in "abcdefghijklmnopqrstuvwxyz,.?!:0123456789"}
_TRADITIONAL = str.maketrans(
    "个为这们来时对国会过给说写话语词类关简单", "個為這們來時對國會過給說寫話語詞類關簡單"
)
