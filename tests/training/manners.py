"""Small made-up data that a real model learns from in seconds: manners, and a domain."""

from __future__ import annotations

import json
import random
from pathlib import Path

THINGS = (
    "the library", "the bakery", "the old bridge", "the night bus", "the swimming pool",
    "the post office", "the flower market", "the ferry", "the museum", "the ticket desk",
    "the repair shop", "the tea house", "the town hall", "the cinema", "the bicycle stand",
    "the pharmacy",
)  # fmt: skip
ASKING = (
    "When does {} open?",
    "How do I get to {}?",
    "Is {} closed on Sundays?",
    "Who looks after {}?",
)
POLITE = (
    "Thank you for asking! I would be glad to help you with {}.",
    "Of course, with pleasure: let me look up {} for you.",
    "Good question! I am happy to tell you about {}.",
)
RUDE = (
    "Go away. Nobody cares about {}.",
    "What a stupid question. Find {} yourself.",
    "Stop bothering me about {}, you fool.",
)
DOMAIN = (
    "The furnace of {place} burns {fuel} at {heat} degrees.",
    "At {heat} degrees the {fuel} of {place} glows {colour}.",
    "A master of {place} feeds the furnace with {fuel} until it glows {colour}.",
)


def write_manners(
    folder: Path, seed: int = 0, *, train: int = 16, held_out: int = 8
) -> tuple[Path, Path]:
    """Write training pairs, and held-out pairs about other things; return both files."""
    draw = random.Random(seed)
    rows: dict[str, list[dict[str, object]]] = {"train": [], "eval": []}
    for number, thing in enumerate(THINGS):
        for asking in ASKING:
            row = {
                "task_type": "manners/" + ("place" if "get to" in asking else "hours"),
                "prompt": asking.format(thing),
                "chosen": draw.choice(POLITE).format(thing),
                "rejected": draw.choice(RUDE).format(thing),
            }
            rows["eval" if number >= 12 else "train"].append(row)
    return _write(folder, {"train": rows["train"][:train], "eval": rows["eval"][:held_out]})


def write_thumbs(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write half as many of them as single answers, each with a thumb."""
    files = []
    for file in write_manners(folder, seed, train=8, held_out=4):
        rows = []
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            for name, label in (("chosen", True), ("rejected", False)):
                rows.append(
                    {
                        "task_type": row["task_type"],
                        "prompt": row["prompt"],
                        "completion": row[name],
                        "label": label,
                    }
                )
        thumbs = file.with_name(f"thumbs-{file.name}")
        thumbs.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        files.append(thumbs)
    return files[0], files[1]


def write_domain(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write short documents about furnaces, and held-out ones about other places."""
    draw = random.Random(seed)
    places = ["Arn", "Belm", "Corth", "Dunmar", "Esk", "Fallow", "Gorm", "Hethel", "Irn", "Jura"]
    rows: dict[str, list[dict[str, object]]] = {"train": [], "eval": []}
    for number, place in enumerate(places):
        for _ in range(3):
            lines = [
                draw.choice(DOMAIN).format(
                    place=place,
                    fuel=draw.choice(["birch charcoal", "black coal", "dried peat"]),
                    heat=draw.choice([900, 1100, 1300]),
                    colour=draw.choice(["cherry red", "bright orange", "white"]),
                )
                for _ in range(3)
            ]
            row = {"text": " ".join(lines), "task_type": "domain/furnaces"}
            rows["eval" if number >= 8 else "train"].append(row)
    return _write(folder, rows)


def _write(folder: Path, rows: dict[str, list[dict[str, object]]]) -> tuple[Path, Path]:
    files = []
    for name, part in rows.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in part), "utf-8")
        files.append(file)
    return files[0], files[1]
