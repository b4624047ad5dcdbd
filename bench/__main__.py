"""``python -m bench``: measure, write ``bench/results``, print the table."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from bench.cases import CASES, PREPARE, PeerSetting

NAMES = (PREPARE, *(case.name for case in CASES))


def main(arguments: Sequence[str]) -> None:
    """Run the benchmarks that are named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument(
        "--rounds", type=int, default=2, help="runs of Danlu (2); TRL runs once in each setting"
    )
    parser.add_argument(
        "--peer",
        type=PeerSetting.parse,
        metavar="ROWS[f]",
        help="run TRL with this micro-batch only, f for padding-free; results are then not written",
    )
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    chosen = given.names or NAMES

    from bench import preparing, training
    from bench.table import print_table

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = [preparing.measure(say)] if PREPARE in chosen else []
    for case in CASES:
        if case.name in chosen:
            asked = dataclasses.replace(case, peers=(given.peer,)) if given.peer else case
            results.append(training.measure(asked, given.rounds, say))
    for result in results:
        if not given.peer:
            result.write()
    print_table(results)


if __name__ == "__main__":
    main(sys.argv[1:])
