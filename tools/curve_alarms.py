"""Measure how often the curves probe is wrong on simulated runs: the rates of docs/diagnosis.md.

python tools/curve_alarms.py 1000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from danlu.diagnosis.curves.detectors import findings
from danlu.diagnosis.live import LiveAlerts
from danlu.runs import RunDirectory
from tests.diagnosis.simulated import FAULTS, clean_shape, curves, simulate


def main() -> None:
    """Print how many sound runs get a finding, and how many broken ones the right one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=int, help="sound runs; a tenth as many of each fault")
    runs = parser.parse_args().runs
    found: Counter[str] = Counter()
    high = alerts = 0
    for seed in range(runs):
        seen = findings(curves(clean_shape(seed), seed))
        high += any(one.confidence == "high" for one in seen)
        found.update({f"{one.name}, {one.confidence}" for one in seen})
        alerts += alerted(seed)
    print(f"sound: {high} of {runs} with a finding of high confidence, {alerts} with an alert")
    for name, count in found.most_common():
        print(f"  {name}: {count}")
    for name, (fault, expected) in FAULTS.items():
        right = sure = 0
        total = max(1, runs // 10)
        for seed in range(total):
            shape = replace(clean_shape(10**6 + seed), held_out=30)
            first = findings(curves(shape, seed, fault))[:1]
            right += any(one.name == expected for one in first)
            sure += any(one.name == expected and one.confidence == "high" for one in first)
        print(f"{name}: {expected} first in {right} of {total}, {sure} of them sure", flush=True)


def alerted(seed: int) -> bool:
    """Whether a sound run is alerted while it goes on."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        alerts = LiveAlerts(RunDirectory(Path(folder)), said.append, clock=lambda: 0.0)
        for row in simulate(clean_shape(seed), seed):
            alerts(row)
    return bool(said)


if __name__ == "__main__":
    main()
