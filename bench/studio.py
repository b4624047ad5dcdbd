"""The studio over much: a million records, ten thousand runs, a curve of a hundred thousand points.

What is timed is what a person waits for: from asking for an address until the page is there, in
chromium, and until its curves are drawn where it has some. The studio is a process of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cases import (
    STUDIO,
    STUDIO_POINTS,
    STUDIO_RECORDS,
    STUDIO_RUNS,
    STUDIO_SECONDS,
)
from bench.checking import run_measured, write_many
from bench.results import Goal, Result

if TYPE_CHECKING:
    from danlu.workshop.store.version import Version

ROUNDS = 5
NAME = "many"
BASELINE, EVALUATION = "before", "asked"


def missing() -> str:
    """Say what is not there that is needed; empty if nothing is."""
    from importlib.util import find_spec

    from tests.studio.browser import CHROMIUM

    return "" if CHROMIUM and find_spec("playwright") else "chromium or playwright is not there"


def measure_studio(
    say: Callable[[str], None],
    records: int = STUDIO_RECORDS,
    runs: int = STUDIO_RUNS,
    points: int = STUDIO_POINTS,
) -> Result:
    """Make the workspace, and open its pages."""
    from tests.studio.browser import browser

    with tempfile.TemporaryDirectory() as made, browser() as started:
        root = Path(made)
        details = _workspace(root, records, runs, points, say)
        with _studio(root) as address:
            first = _first_looks(started, address, records)
        say(f"{STUDIO}: first looks {first}")
        with _studio(root) as address:  # anew, so that nothing is in its memory
            seconds = _looks(started, address, f"{records // 2}:")
    for name, found in seconds.items():
        say(f"{STUDIO}: {name} {found:.3f} s")
    return Result(
        name=STUDIO,
        unit="pages/s",
        danlu=1 / max(seconds.values()),
        goals=tuple(
            Goal(f"s until {name}", found, STUDIO_SECONDS, "at most")
            for name, found in {
                "a new version's first records": first["beginning"],
                **seconds,
            }.items()
        ),
        details={**details, "first_looks": first, "rounds": ROUNDS},
    )


def _workspace(
    root: Path, records: int, runs: int, points: int, say: Callable[[str], None]
) -> dict[str, Any]:
    from danlu.workshop.store.store import Store
    from tests.evaluation.versions import write_evaluation
    from tests.runs.synthetic_run import make_run

    size = write_many(root / "in.jsonl", records)
    common = ["--name", NAME, "--store", str(root / "datasets")]
    seconds, _ = run_measured(["data", "import", str(root / "in.jsonl"), *common])
    say(f"{STUDIO}: {records} records imported in {seconds:.0f} s")
    version = Store(root / "datasets").find(NAME)
    prompts = {"bench/t0": [_prompt(version, at) for at in (records // 3, None)]}
    answers = {"bench/t0": [("wrong", 0.0)] * 2}
    write_evaluation(root / "evals" / BASELINE, BASELINE, answers, prompts=prompts)
    folder = write_evaluation(
        root / "evals" / EVALUATION, EVALUATION, answers, prompts=prompts, started=2
    )
    told = json.loads((folder / "eval.json").read_text("utf-8"))
    told["model"]["data_version"] = version.id
    (folder / "eval.json").write_text(json.dumps(told), "utf-8")
    model = make_run(root / "model-run", steps=60).path
    for number in range(runs - 1):
        shutil.copytree(model, root / "runs" / f"run-{number:05}", symlinks=True)
    make_run(root / "runs" / "long", steps=points)
    say(f"{STUDIO}: {runs} runs made")
    return {"records": records, "bytes": size, "runs": runs, "points": points}


def _prompt(version: Version, at: int | None) -> str:
    """Return the prompt of a record; of None the words of all, without the number that is its own.

    The first shares a rare stretch with a record, the second none but the commonest with all.
    """
    record = next(islice(version.records(), at or 0, None))
    asked = record.messages[0].content or ""
    return asked if at is not None else asked.partition(": ")[2]


@contextmanager
def _studio(root: Path) -> Iterator[str]:
    """Start a studio; yield the address with its token."""
    command = [sys.executable, "-m", "danlu", "studio", "--workspace", str(root)]
    began = subprocess.Popen(
        [*command, "--port", "0", "--no-open"], stderr=subprocess.PIPE, text=True
    )
    said = ""
    try:
        assert began.stderr is not None
        for line in began.stderr:
            said += line
            if found := re.search(r"http://\S+token=\S+", line):
                yield found[0]
                break
        else:
            raise RuntimeError(f"the studio did not start:\n{said}")
    finally:
        began.terminate()
        began.wait()
        if began.stderr:
            began.stderr.close()


def _first_looks(started: Any, address: str, records: int) -> dict[str, float]:
    """Open what the studio has never seen, and wait until it has read it."""
    page = started.new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    base = address.split("/?")[0]
    found = {}
    began = time.perf_counter()
    page.goto(f"{base}/data/version/{NAME}")
    page.wait_for_selector("#records [data-row]")
    found["beginning"] = time.perf_counter() - began
    page.wait_for_selector("#records:not([hx-trigger])")
    found["records_read"] = time.perf_counter() - began
    began = time.perf_counter()
    page.goto(f"{base}/runs")
    page.wait_for_selector("#runs:not([hx-trigger])")
    found["runs_read"] = time.perf_counter() - began
    began = time.perf_counter()
    page.goto(f"{base}/runs/show/runs/long")
    page.wait_for_selector("#charts[data-drawn]")
    found["curve_read"] = time.perf_counter() - began
    # A record's page needs the ledger, too.
    page.goto(f"{base}/data/record/{NAME}?id=none")
    while page.locator("#reading").count():
        page.wait_for_timeout(500)
    page.close()
    return found


def _looks(started: Any, address: str, needle: str) -> dict[str, float]:
    """Return the middle of some rounds for each page, or the first of a fresh studio if slower.

    Args:
        started: The browser.
        address: Of the studio.
        needle: What only a few records have.
    """
    base = address.split("/?")[0]
    page = started.new_page()
    page.goto(address)
    page.goto(f"{base}/data")
    row = "#records [data-row]"
    found: dict[str, list[float]] = {}

    def opened(name: str, path: str, until: str) -> None:
        began = time.perf_counter()
        page.goto(base + path)
        page.wait_for_selector(until)
        found.setdefault(name, []).append(time.perf_counter() - began)

    for _ in range(ROUNDS):
        opened("the version of a million records", f"/data/version/{NAME}", row)
        opened(
            "records of one task type", f"/data/version/{NAME}?task_type=bench/t3&sort=long", row
        )
        opened("records with a word", f"/data/version/{NAME}?q={needle}", row)
        first = page.locator(f"{row} a").first.get_attribute("href")
        opened("one record", first, ".turn")
        opened("the list of ten thousand runs", "/runs", "#runs [data-row]")
        opened("a curve of 100,000 points", "/runs/show/runs/long", "#charts[data-drawn]")
        cases = f"/evaluation/cases?a={BASELINE}&b={EVALUATION}&moved=all"
        opened("the cases of an evaluation", cases, ".case")
        for item, kind in enumerate(("a prompt of rare words", "a prompt of common words")):
            address_of = f"/evaluation/nearest?name={EVALUATION}&item=bench/t0-{item}"
            opened(f"the records nearest to {kind}", address_of, ".nearest li")
    page.close()
    return {name: max(times[0], sorted(times)[len(times) // 2]) for name, times in found.items()}
