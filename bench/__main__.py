"""``python -m bench``: measure, write ``bench/results``, print the table."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from bench.cases import (
    ANSWERING,
    CASES,
    CHECK,
    GATEWAY,
    NEAR,
    NOVELTY,
    OPTIONS,
    PREPARE,
    ROWS,
    SERVING,
    STATISTICS,
    STREAM,
    STUDIO,
    PeerSetting,
)
from bench.cuda_cases import CUDA_CASES

NAMES = (
    *(PREPARE, NOVELTY, NEAR, CHECK, STREAM, STATISTICS, ANSWERING, OPTIONS, SERVING, GATEWAY),
    STUDIO,
    *(case.name for case in CASES),
    *(case.name for case in CUDA_CASES),
)


def main(arguments: Sequence[str]) -> None:
    """Run the benchmarks that are named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument(
        "--rounds", type=int, help="runs of Danlu (1 or 2, by benchmark); its peer runs once"
    )
    parser.add_argument(
        "--peer",
        type=_peer,
        metavar="ROWS[f]",
        help="run TRL with this micro-batch only, f for padding-free; results are then not written",
    )
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    chosen = given.names or NAMES

    from bench import (
        checking,
        comparing,
        cuda,
        evaluating,
        gateway,
        preparing,
        serving,
        studio,
        training,
        workshop,
    )
    from bench.table import print_table

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = [preparing.measure(say)] if PREPARE in chosen else []
    if NOVELTY in chosen:
        results.append(workshop.measure_novelty(say))
    if NEAR in chosen:
        results.append(workshop.measure_near(say))
    if STATISTICS in chosen:
        results.append(comparing.measure_statistics(say))
    if CHECK in chosen:
        results.append(checking.measure_checks(say))
    if STREAM in chosen:
        results.append(checking.measure_stream(say))
    if ANSWERING in chosen:
        results.append(evaluating.measure_answering(say))
    if OPTIONS in chosen:
        results.append(evaluating.measure_options(say))
    if SERVING in chosen:
        results.append(serving.measure_serving(say))
    if GATEWAY in chosen:
        results.append(gateway.measure_gateway(say))
    if STUDIO in chosen:
        if reason := studio.missing():
            say(f"{STUDIO}: {reason}")
        else:
            results.append(studio.measure_studio(say))
    for case in CASES:
        if case.name not in chosen:
            continue
        if reason := training.missing(case):
            say(reason)
            continue
        only = given.peer if ROWS not in case.peers else None
        asked = dataclasses.replace(case, peers=(only,)) if only else case
        results.append(training.measure(asked, given.rounds or case.rounds, say))
    for cuda_case in CUDA_CASES:
        if cuda_case.name not in chosen:
            continue
        if reason := cuda.missing(cuda_case):
            say(reason)
            continue
        results.append(cuda.measure(cuda_case, say))
    for result in results:
        if not given.peer:
            result.write()
    print_table(results)


def _peer(text: str) -> PeerSetting:
    try:
        return PeerSetting.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error  # whose words argparse prints


if __name__ == "__main__":
    main(sys.argv[1:])
