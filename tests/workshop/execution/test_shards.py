"""Operations over shards, and a whole pipeline on Ray: the same versions as in one process."""

from __future__ import annotations

import pickle
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError, StoreError
from danlu.records import Record, Source, write_records
from danlu.workshop.checks import CHECKS, CheckRecords, Context, Forbidden, run_checks
from danlu.workshop.data import records_of
from danlu.workshop.execution.blocks import Block
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.execution.shards import Shards, decide_shard, decides_by_task_type
from danlu.workshop.likeness.tiles import Tile
from danlu.workshop.operations.dedup import Dedup
from danlu.workshop.operations.importing import import_files
from danlu.workshop.operations.label import Label
from danlu.workshop.operations.mix import Mix
from danlu.workshop.operations.novelty import Novelty
from danlu.workshop.operations.select import Select
from danlu.workshop.operations.split import split
from danlu.workshop.store.decision import Decision, Operation
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version
from danlu.workshop.store.watch import OperationFaultError
from tests.workshop.checks.trying import chinese, english
from tests.workshop.making import Doing, chat


class InShards:
    """Shards in this process: what Ray does, without Ray."""

    def __init__(self) -> None:
        self.sharded: list[str] = []
        self.tiles = 0
        self.looks: Counter[str] = Counter()
        self.stays_here = threading.Lock()  # which no pickle takes along, as with a cluster

    def map(self, function: Any, items: Iterable[Any]) -> Iterator[Any]:
        self.looks[type(function).__name__] += 1
        function = pickle.loads(pickle.dumps(function))
        for item in items:
            self.tiles += isinstance(item, Tile)
            yield function(item)

    def by_task_type(self, operation: Operation, blocks: Iterable[Block]) -> Iterator[Decision]:
        self.sharded.append(operation.name)
        records = [record for block in blocks for record in block.records()]
        shards: dict[str, list[Record]] = {}
        for record in records:
            shards.setdefault(record.task_type, []).append(record)
        decided = {
            decision.entry.id: decision
            for shard in shards.values()
            for decision in decide_shard(operation, shard)
        }
        return (decided[record.id] for record in records)


def _data() -> list[Record]:
    """Duplicates near and exact within a task type and across, robust variants, faults."""
    draw = random.Random(3)
    made: list[Record] = []
    for number, record in enumerate([*english(60), *chinese(60), *english(40, "qa/fact", seed=9)]):
        made.append(record)
        prompt, answer = record.messages
        if number % 3 == 0:
            near = replace(prompt, content=f"{prompt.content} {draw.randrange(9)}")
            tags = ("robustness",) if number % 9 == 0 else ()
            made.append(replace(record, id=f"n{number}", messages=(near, answer), tags=tags))
        if number % 5 == 0:
            made.append(replace(record, id=f"e{number}"))
            made.append(replace(record, id=f"a{number}", task_type="other/copies"))
        if number % 11 == 0:
            made.append(replace(record, id=f"u{number}", task_type="unlabelled/copies"))
    made += [chat("phone", "Call me", "At 13912345076."), chat("empty", "q", "")]
    made.append(chat("alone", "炉?", "火。", "use/alone"))
    draw.shuffle(made)
    return made


def pipeline(folder: Path, executor: Executor) -> list[Version]:
    """Make versions of all operations, one after another."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("danlu.workshop.likeness.tiles.PART", 10)
        return _pipeline(folder, executor)


def _pipeline(folder: Path, executor: Executor) -> list[Version]:
    path = folder.parent / "given.jsonl"
    if not path.exists():
        write_records(_data(), path)
    store = Store(folder, executor)
    versions = [import_files(store, [Source(str(path), format="danlu")])]
    drop = ("personal", "structure.empty_turn")
    for operation in (
        CheckRecords(CHECKS, drop=drop, tag=("lengths",), executor=executor),
        Dedup(),
        Dedup(across=True, near=None),
        Select(share=0.9),
        Select(count=5, counts={"qa/fact": 30}),
        Novelty(limit=0.1, executor=executor),
        Mix({"写作": 0.5, "write": 0.3}, by="area", repeats=2, executor=executor),
        Mix({"write/story": 300}, unit="characters", executor=executor),
    ):
        versions.append(store.apply(operation, versions[-1]))
    versions += split(store, versions[-1], share=0.2)
    label = Label(None, ("neighbours",), limit=0.3, executor=executor)
    versions.append(store.apply(label, versions[0]))
    return versions


def _told(versions: Iterable[Version]) -> list[tuple[object, ...]]:
    return [
        (one.id, one.manifest.content, one.manifest.task_types, one.manifest.rules, [*one.ledger()])
        for one in versions
    ]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Version]]:
    folder = tmp_path_factory.mktemp("pipeline")
    return folder, pipeline(folder / "here", HERE)


def test_a_pipeline_in_shards_makes_the_same_versions(here: tuple[Path, list[Version]]) -> None:
    folder, versions = here
    executor = InShards()
    assert isinstance(executor, Shards)
    assert not isinstance(HERE, Shards)
    assert _told(pipeline(folder / "shards", executor)) == _told(versions)
    # What is asked about all task types is decided over all of them.
    assert executor.sharded == ["dedup", "select"]
    assert executor.tiles > 3
    fates = [version.manifest.fates() for version in versions]
    assert [one.get("dropped", 0) > 0 for one in fates[1:7]] == [True] * 6
    assert versions[-1].manifest.fates()["edited"] > 5
    looks = {"_Looking": 2, "function": 1, "_Proposing": 1}  # of mix, split and label
    assert looks.items() <= executor.looks.items()
    assert "kept by tag robustness" in {entry.detail for entry in versions[2].ledger()}


def test_an_operation_that_passes_over_a_record_of_a_shard() -> None:
    lazy = Doing(lambda records: ())
    assert not decides_by_task_type(lazy)
    with pytest.raises(OperationFaultError, match="stopped reading"):
        [*decide_shard(lazy, [chat("1")])]


@pytest.mark.filterwarnings("ignore")  # Ray warns of its own settings
def test_ray_makes_the_same_versions(here: tuple[Path, list[Version]]) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from danlu.workshop.execution.ray import OnRay

    folder, versions = here
    try:
        executor = OnRay()
        assert isinstance(executor, Shards)
        assert _told(pipeline(folder / "ray", executor)) == _told(versions)
        told: list[list[object]] = [[], []]
        for found, one in zip(told, (HERE, executor), strict=True):
            records = records_of(Store(folder / "here"), versions[0].id)
            found += run_checks(records, CHECKS, on_finding=found.append, executor=one)
        assert told[0] == told[1]
        assert [*executor.map(abs, [])] == []
        broken = [Forbidden(file=str(folder / "gone"))]
        with pytest.raises(DanluError, match="cannot be read"):
            run_checks([chat("1")], broken, on_finding=print, executor=executor)
        with pytest.raises(DanluError, match="no share"):
            [*executor.map(_refuse, [3])]
    finally:
        ray.shutdown()


def _refuse(item: int) -> int:
    raise DanluError(f"is {item}; it is no share.")


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.workshop.execution.ray import OnRay

    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(StoreError, match=r"pip install 'danlu\[ray\]'"):
        OnRay()


def test_a_context_goes_with_the_checks() -> None:
    """Else records looked at elsewhere would be held against other labels than here."""
    from danlu.workshop.checks.run import Look

    look = Look(CHECKS, Context(closed_labels={"a/b": ["yes"]}, seed=7))
    copy = pickle.loads(pickle.dumps(look))
    assert copy.context.labels.declared == {"a/b": {"yes"}}
    assert (copy.checks, copy.context.seed) == (CHECKS, 7)
