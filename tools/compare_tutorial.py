"""Two runs to a verdict, with real labelled tasks: what docs/evaluation.md shows, all of it.

    python tools/compare_tutorial.py --data DIR --work /tmp/tutorial

DIR holds prompt/completion files (JSONL). The built-in model is trained on four tasks; then again
with the labels of one task changed on purpose; ``danlu compare`` has to find that task, call the
others unchanged, and name the data as the cause. Without DIR a small stand-in is made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TASKS = {
    "news/topic": "ag_news_which_section_choices.jsonl",
    "reviews/sentiment": "amazon_polarity_Is_this_review.jsonl",
    "questions/paraphrase": "glue_qqp_meaning.jsonl",
    "science/choice": "sciq_Multiple_Choice_Closed_Book_.jsonl",
}
DAMAGED = "news/topic"
BASE = "builtin:smollm2-135m-instruct"
SETTINGS = (
    "data.eval_share=0",
    "training.epochs=1",
    "training.learning_rate=1e-3",
    "training.batch_records=8",
    "samples.from_data=0",
)
"""Of the recipe; others may be given behind them."""
LONGEST_PROMPT = 420
"""Characters; longer ones are left out, for the sake of a small machine's time."""

Row = dict[str, str]


def labelled_tasks(folder: Path) -> list[Row]:
    """Read the four tasks; the end-of-text mark of the answers goes."""
    rows = []
    for task_type, name in TASKS.items():
        for line in (folder / name).read_text("utf-8").splitlines():
            row = json.loads(line)
            prompt = row["prompt"].strip()
            if len(prompt) <= LONGEST_PROMPT:
                answer = row["completion"].removesuffix("<|endoftext|>").strip()
                rows.append({"prompt": prompt, "completion": answer, "task_type": task_type})
    return rows


def damaged(
    rows: Sequence[dict[str, object]], task_type: str, wrong: str | None = None
) -> list[dict[str, object]]:
    """Give every record of a task type the next label, or all the same, and leave the others."""
    labels = sorted({_answer(row) for row in rows if row["task_type"] == task_type})
    following = dict(zip(labels, labels[1:] + labels[:1], strict=True))
    found = []
    for row in rows:
        if row["task_type"] == task_type:
            *before, last = row["messages"]  # type: ignore[misc]
            changed = {**last, "content": wrong or following[last["content"]]}
            row = {**row, "messages": [*before, changed]}
        found.append(row)
    return found


def _answer(row: dict[str, object]) -> str:
    return str(row["messages"][-1]["content"])  # type: ignore[index]


def tutorial(
    rows: Sequence[Row],
    work: Path,
    *,
    held_out: float = 0.5,
    settings: Sequence[str] = SETTINGS,
    margin: float = 0.3,
    damage: str = DAMAGED,
    wrong: str | None = None,
    max_new_tokens: int = 12,
) -> None:
    """Train twice, evaluate three models, and compare; everything lands in ``work``.

    Args:
        rows: ``prompt``, ``completion`` and ``task_type``.
        work: An empty folder.
        held_out: Share of each task type that is asked and not trained.
        settings: Of the recipe.
        margin: Smallest difference that matters.
        damage: The task type whose labels are changed for the second run.
        wrong: The label that all of them get; None: each the next one.
        max_new_tokens: Longest answer.
    """
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path("tasks.jsonl").write_text(lines, "utf-8")
    danlu("data", "import", "tasks.jsonl", "--name", "tasks")
    danlu("data", "split", "tasks", "--share", str(held_out), "--name", "tasks")
    danlu("eval", "make-suite", "tasks-eval", "--out", "suites/tasks")
    suite = Path("suites/tasks/suite.yaml")
    text = suite.read_text("utf-8")
    suite.write_text(text.replace("scorer:", f"margin: {margin}\n    scorer:"), "utf-8")
    danlu("train", "sft-lora", "name=v1", "data.train=version:tasks-train", *settings)

    danlu("data", "export", "tasks-train", "--output", "damaged.jsonl")
    records = [json.loads(line) for line in Path("damaged.jsonl").read_text("utf-8").splitlines()]
    lines = "".join(
        json.dumps(row, ensure_ascii=False) + "\n" for row in damaged(records, damage, wrong)
    )
    Path("damaged.jsonl").write_text(lines, "utf-8")
    danlu("data", "import", "damaged.jsonl", "--name", "tasks-train")
    danlu("train", "sft-lora", "name=v2", "data.train=version:tasks-train", *settings)

    for model in (BASE, "runs/v1", "runs/v2"):
        danlu("eval", "suites/tasks", "--model", model, "--max-new-tokens", str(max_new_tokens))
    danlu("compare", "runs/v1", "runs/v2", "--html", "compare.html")
    danlu("compare", BASE, "runs/v1", "--missing", "count", "--html", "tuned.html")


def danlu(*arguments: str) -> None:
    """Run a command of Danlu's in this process, and say how long it took."""
    from danlu.cli.main import run

    print(f"\n$ danlu {' '.join(arguments)}", flush=True)
    began = time.monotonic()
    if code := run(list(arguments)):
        raise SystemExit(f"danlu {arguments[0]} ended with {code}")
    print(f"  ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)


def stand_in(per_type: int, seed: int = 0) -> list[Row]:
    """Make short tasks that are learned in a few steps, where the real ones are not at hand."""
    rng = random.Random(seed)
    things = THINGS.split()
    kinds = {
        "shop/price": [(f"What does a {thing} cost?", "5") for thing in things],
        "shop/colour": [
            (f"A {colour} {thing}. What colour?", colour.capitalize())
            for thing in things
            for colour in ("red", "blue", "green")
        ],
        "shop/buyer": [
            (f"{name} buys a {thing}. Who buys it?", name)
            for thing in things
            for name in ("Anna", "Paul", "Mary")
        ],
    }
    rows = []
    for task_type, pairs in kinds.items():
        rng.shuffle(pairs)
        for prompt, answer in pairs[:per_type]:
            rows.append({"prompt": prompt, "completion": answer, "task_type": task_type})
    return rows


THINGS = (
    "lamp chair table cup plate spoon knife fork bowl pan pot kettle clock mirror carpet curtain "
    "pillow blanket towel basket bucket broom brush ladder hammer saw drill nail screw rope box "
    "bag bottle jar candle vase picture book pen pencil ruler scarf hat coat shirt shoe glove ring "
    "ball kite doll drum"
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of prompt/completion files")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder to work in")
    parser.add_argument("settings", nargs="*", help="settings of the recipe: training.epochs=2")
    given = parser.parse_args()
    chosen = (*SETTINGS, *given.settings)
    if given.data:
        tutorial(labelled_tasks(given.data), given.work, settings=chosen)
    else:
        tutorial(stand_in(80), given.work, settings=chosen, damage="shop/price", wrong="9")
