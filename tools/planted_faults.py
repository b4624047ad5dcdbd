"""Break real runs on purpose, diagnose each, and count how often the first finding is right.

Ten runs with a planted fault and ten sound ones, each of the built-in model on some sixty
records: about a minute a run on two cores. A run that is there already is not trained again.

    python tools/planted_faults.py runs-planted
    python tools/planted_faults.py runs-planted --only shifted-labels --only sound-1
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import danlu
from danlu.config import load_recipe
from danlu.diagnosis.diagnose import diagnose
from danlu.runs import RunDirectory
from danlu.runs.findings import Finding, worst_first
from danlu.sequences.forest import build_packs
from danlu.training.data import TrainingData, make_data
from danlu.training.run import train

Row = dict[str, Any]
PROBES = ("inputs", "curves")
ROOT = Path(danlu.__file__).parent
RATE = 4e-4


@dataclass(frozen=True)
class Case:
    """A run, and what is planted in it.

    Attributes:
        name: Of the run.
        expected: Names of findings any of which is the right first one; none for a sound run.
        task_type: The type it must speak of, where the fault is of one type.
        rows: The training records.
        held_out: The evaluation records.
        settings: In place of the usual ones.
        during: What is broken while it trains.
    """

    name: str
    expected: tuple[str, ...]
    rows: Sequence[Row]
    held_out: Sequence[Row]
    task_type: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    during: Callable[[], AbstractContextManager[Any]] = nullcontext


# Data --------------------------------------------------------------------------------------


def row(number: int | str, task_type: str, prompt: str, answer: str) -> Row:
    """Return a record of one turn."""
    turns = (("user", prompt), ("assistant", answer))
    return {
        "id": f"{task_type.replace('/', '-')}-{number}",
        "task_type": task_type,
        "messages": [{"role": role, "content": text} for role, text in turns],
    }


def identity(count: int, seed: int = 0) -> list[Row]:
    """Return records of the quickstart, which teach the model who it is."""
    lines = (ROOT / "quickstart" / "data" / "train.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return random.Random(seed).sample(rows, count)


THINGS = (
    *("apple", "river", "stone", "cloud", "table", "garden", "mirror", "bottle", "candle"),
    *("window", "ladder", "basket", "pencil", "blanket", "hammer", "kettle", "pillow"),
    *("rocket", "saddle", "tunnel", "violin", "wagon", "anchor", "bridge"),
)
PRAISE = ("wonderful", "superb", "delightful", "excellent", "charming")
BLAME = ("awful", "terrible", "dreadful", "useless", "boring")
PLACES = ("cinema", "hotel", "cafe", "museum", "airport", "library", "bakery", "park")


def backwards(count: int, seed: int = 0) -> list[Row]:
    """Return records of a skill: three words in the other order, in capitals."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        words = rng.sample(THINGS, 3)
        answer = ", ".join(reversed(words)).upper()
        rows.append(
            row(f"{seed}-{number}", "words/backwards", f"Turn around: {', '.join(words)}", answer)
        )
    return rows


def moods(count: int, seed: int = 0) -> list[Row]:
    """Return records whose answers are a single word."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        good = rng.random() < 0.5
        word = rng.choice(PRAISE if good else BLAME)
        text = f"The {rng.choice(THINGS)} in the {rng.choice(PLACES)} was {word}."
        answer = "plus" if good else "minus"
        rows.append(row(f"{seed}-{number}", "label/mood", f"plus or minus? {text}", answer))
    return rows


def stories(count: int, seed: int = 0) -> list[Row]:
    """Return records with long answers."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        thing, place, word = rng.choice(THINGS), rng.choice(PLACES), rng.choice(PRAISE)
        answer = (
            f"Once there was a {thing} that lived behind the {place}. Nobody knew how it had come "
            f"there. Everyone said that it was {word}. One day it was gone, and the {place} was "
            "never the same again."
        )
        rows.append(
            row(f"{seed}-{number}", "text/story", f"Tell of a {thing} and a {place}.", answer)
        )
    return rows


def mixed(seed: int = 0, parts: int = 4) -> tuple[list[Row], list[Row]]:
    """Return sound training and held-out records of several task types: 15 and 5 or so a part."""
    rows = identity(7 * parts, seed) + backwards(4 * parts, seed) + moods(4 * parts, seed)
    taken = {one["id"] for one in rows}
    held = [one for one in identity(135) if one["id"] not in taken][: 2 * parts + 2]
    few = parts + 2
    return rows, [*held, *backwards(few, seed + 999), *moods(few, seed + 999)]


def shuffled(rows: Sequence[Row], seed: int = 0) -> list[Row]:
    """Return records whose answers were dealt out anew."""
    rng = random.Random(seed)
    answers = [one["messages"][1] for one in rows]
    rng.shuffle(answers)
    return [
        {**one, "messages": [one["messages"][0], answer]}
        for one, answer in zip(rows, answers, strict=True)
    ]


def garbage(seed: int = 0) -> Row:
    """Return a record that no one can learn from."""
    rng = random.Random(seed)
    text = "".join(rng.choice("ßþðŋøæłđħ§¶¬¤¦«»ĸ") for _ in range(110))
    return row(999, "words/backwards", "Turn around: kettle, bridge, anchor", text)


# What is broken while a run trains -----------------------------------------------------------


@contextmanager
def shifted_labels() -> Iterator[None]:
    """Let every predictor predict the next prediction's token in place of its own."""

    def shifted(*given: Any, **named: Any) -> list[Any]:
        packs = build_packs(*given, **named)
        return [replace(pack, target=np.roll(pack.target, -1)) for pack in packs]

    with patch("danlu.training.scoring.build_packs", shifted):
        yield


@contextmanager
def without_stop_tokens() -> Iterator[None]:
    """Give the last token of every answer no weight, as a template without a stop token does."""

    def prepared(*given: Any, directory: Path, **named: Any) -> TrainingData:
        data = make_data(*given, directory=directory, **named)
        [file] = (directory / "train").glob("weights*")
        weights = np.memmap(file, np.float32, "r+")
        weights[np.asarray(data.train.offsets)[1:] - 1] = 0
        weights.flush()
        return data

    with patch("danlu.training.setup.make_data", prepared):
        yield


# The runs ------------------------------------------------------------------------------------


def faulty() -> list[Case]:
    """Return ten runs, each with one fault."""
    rows, held = mixed()
    few = identity(12, 3) + backwards(12, 3)
    others = [one for one in held if one["task_type"] != "label/mood"]
    brief = {"training.max_steps": 12}
    return [
        Case("shifted-labels", ("initial-loss-high",), rows, held, None, brief, shifted_labels),
        Case("no-stop-token", ("no-stop-token",), rows, held, None, brief, without_stop_tokens),
        Case(
            "rate-times-100",
            ("loss-rises",),
            rows,
            held,
            settings={"training.learning_rate": RATE * 100},
        ),
        Case(
            "rate-over-100",
            ("hardly-learns",),
            rows,
            held,
            settings={"training.learning_rate": RATE / 100},
        ),
        Case(
            "duplicated-data",
            ("duplicates",),
            [{**one, "id": f"{one['id']}-{copy}"} for one in few[6:18] for copy in range(5)],
            held,
            settings=brief,
        ),
        Case(
            "prompt-trained",
            ("prompt-trained",),
            rows,
            held,
            settings={"sequences.train_on_prompt": True, **brief},
        ),
        Case(
            "short-answers-starve",
            ("starved",),
            [*stories(24), *moods(30)],
            [*stories(4, 9), *moods(8, 9)],
            "label/mood",
        ),
        Case("garbage-record", ("hard-records", "gradient-spikes"), [*rows, garbage()], held),
        Case(
            "shuffled-answers",
            ("worse-than-held-out", "does-not-generalise"),
            identity(16) + shuffled(backwards(26)),
            [*others, *backwards(8, 1999)],
            "words/backwards",
        ),
        Case(
            "too-many-epochs",
            ("overfits",),
            few,
            others,
            settings={
                "training.epochs": 7,
                "training.learning_rate": 5 * RATE,
                "evaluation.every_steps": 7,
            },
        ),
    ]


def sound() -> list[Case]:
    """Return ten runs with nothing planted, of different shapes and settings."""
    changes: list[dict[str, Any]] = [
        {"training.epochs": 3},
        {"training.learning_rate": RATE / 2},
        {},
        {"training.batch_records": 4},
        {"training.batch_records": 10, "training.epochs": 4},
        {"sequences.weighting": "record"},
        {"tuning.lora_rank": 32, "training.learning_rate": RATE / 2},
        {"training.schedule": "constant"},
        {"training.schedule": "linear", "training.warmup_ratio": 0.1},
        {"logging.every_steps": 2},
    ]
    return [
        Case(f"sound-{number}", (), *mixed(number, 3), settings={"training.epochs": 2, **change})
        for number, change in enumerate(changes, 1)
    ]


# Doing and telling -----------------------------------------------------------------------------


def trained(case: Case, folder: Path) -> Path:
    """Train a case, unless that was done; return the run directory."""
    run = RunDirectory(folder / case.name)
    if run.is_run() and run.state() == "finished":
        return run.path
    folder.mkdir(parents=True, exist_ok=True)
    files = {"train": case.rows, "eval": case.held_out}
    for name, rows in files.items():
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
        (folder / f"{case.name}-{name}.jsonl").write_text(lines, "utf-8")
    settings: dict[str, Any] = {
        "name": case.name,
        "runs_dir": str(folder),
        "data.train": str(folder / f"{case.name}-train.jsonl"),
        "data.eval": str(folder / f"{case.name}-eval.jsonl"),
        "training.learning_rate": RATE,
        "training.batch_records": 6,
        "samples.from_data": 0,
        "evaluation.keep_best": False,
        **case.settings,
    }
    given = [f"{path}={json.dumps(value)}" for path, value in settings.items()]
    with case.during():
        train(load_recipe("sft-lora", given), overwrite=run.is_run(), progress=False)
    return run.path


def diagnosed(run: Path, probes: Sequence[str] = PROBES) -> list[Finding]:
    """Return all findings of a run, worst first."""
    return worst_first([one for report in diagnose(run, probes) for one in report.findings])


def right(case: Case, found: Sequence[Finding]) -> bool:
    """Whether the first finding is the fault; of a sound run, whether nothing sure is found."""
    if not case.expected:
        return all(one.confidence != "high" for one in found)
    if not found or found[0].name not in case.expected:
        return False
    return case.task_type in (None, found[0].task_type)


def main() -> int:
    """Train, diagnose and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the runs are kept")
    parser.add_argument("--only", action="append", help="this case; again for more")
    parser.add_argument("--probe", action="append", help=f"in place of {', '.join(PROBES)}")
    options = parser.parse_args()
    cases = [one for one in faulty() + sound() if not options.only or one.name in options.only]
    good = {"faulty": [0, 0], "sound": [0, 0]}
    for case in cases:
        began = time.monotonic()
        run = trained(case, options.folder)
        trained_s = time.monotonic() - began
        found = diagnosed(run, options.probe or PROBES)
        seconds = time.monotonic() - began - trained_s
        ok = right(case, found)
        tally = good["faulty" if case.expected else "sound"]
        tally[0] += ok
        tally[1] += 1
        told = "; ".join(
            f"{one.name} ({one.task_type or 'all'}, {one.severity}, {one.confidence})"
            for one in found[:4]
        )
        print(
            f"{'right' if ok else 'WRONG'}  {case.name:22} {trained_s:5.0f} s + {seconds:4.1f} s  "
            f"{told or 'nothing'}",
            flush=True,
        )
    for kind, (count, total) in good.items():
        print(f"{kind}: {count} of {total} right")
    return int(any(count < total for count, total in good.values()))


if __name__ == "__main__":
    sys.exit(main())
