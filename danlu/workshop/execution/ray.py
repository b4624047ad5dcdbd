"""Ray Data: the same functions over the same blocks, on the machines of a Ray cluster.

Every machine needs Danlu, and sees the store under the same path.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, TypeVar

from danlu.errors import DanluError, StoreError
from danlu.records.lines import decode_record, encode_record
from danlu.workshop.execution.blocks import Block
from danlu.workshop.execution.shards import decide_shard
from danlu.workshop.store.decision import Decision, Operation

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = "local"
"""Address of a cluster that is begun on this machine, and ends with the program."""

PER_CORE = 2
"""Partitions that a shuffle makes for each core of the cluster."""


class OnRay:
    """Does the work on a Ray cluster.

    Args:
        address: Of the cluster, as ``ray.init`` takes it; ``local`` begins one here.

    Raises:
        StoreError: If Ray is not installed, or the cluster is not there.
    """

    def __init__(self, address: str = LOCAL) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray.data
        except ImportError as error:
            raise StoreError("Ray is not installed: pip install 'danlu[ray]'.") from error
        if not ray.is_initialized():
            try:
                ray.init(
                    address=None if address == LOCAL else address,
                    include_dashboard=False if address == LOCAL else None,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            except (ConnectionError, ValueError) as error:
                raise StoreError(f"there is no Ray cluster: {error}", where=address) from error
        self._data = ray.data
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        self._cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        context.default_hash_shuffle_parallelism = PER_CORE * self._cores

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply the function to the items, which are all named before the work begins."""
        rows = [{"item": pickle.dumps(item)} for item in items]
        if not rows:
            return
        applied = self._data.from_items(rows).map_batches(
            partial(_apply, pickle.dumps(function)), batch_size=1, batch_format="pyarrow"
        )
        yield from self._results(applied)

    def by_task_type(self, operation: Operation, blocks: Iterable[Block]) -> Iterator[Decision]:
        """Let an operation decide over the records of each task type, in a place of its own.

        Args:
            operation: One that decides of a task type by its records alone. All of them must fit
                the memory of one machine.
            blocks: Of the records.

        Yields:
            What it decided, settled, in the order of the records.
        """
        rows = [
            {"item": pickle.dumps(block), "number": number} for number, block in enumerate(blocks)
        ]
        if not rows:
            return
        decided = (
            self._data.from_items(rows)
            .map_batches(_read, batch_size=1, batch_format="pyarrow")
            .groupby("task_type", num_partitions=PER_CORE * self._cores)
            .map_groups(partial(_decide, pickle.dumps(operation)), batch_format="pyarrow")
            .sort("position")
        )
        for line, entry in self._results(decided):
            yield Decision(decode_record(line), entry)

    def _results(self, dataset: Any) -> Iterator[Any]:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for packed in batch["result"]:
                result = pickle.loads(packed.as_py())
                if isinstance(result, DanluError):
                    raise result
                yield result


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Any:
    """Return a function or operation, the same one for all items of a process."""
    return pickle.loads(packed)


def _packed(results: Iterable[Any]) -> Any:
    import pyarrow as pa

    return pa.array([pickle.dumps(result) for result in results], pa.large_binary())


def _apply(function: bytes, batch: Any) -> Any:
    import pyarrow as pa

    work = _unpacked(function)
    results: list[Any] = []
    for item in batch["item"]:
        try:
            results.append(work(pickle.loads(item.as_py())))
        except DanluError as error:  # told as it is, and not as a fault of Ray's
            results.append(error)
    return pa.table({"result": _packed(results)})


def _read(batch: Any) -> Any:
    import pyarrow as pa

    positions, task_types, lines = [], [], []
    for item, number in zip(batch["item"], batch["number"], strict=True):
        for place, record in enumerate(pickle.loads(item.as_py()).records()):
            positions.append(number.as_py() << 32 | place)
            task_types.append(record.task_type)
            lines.append(encode_record(record))
    columns = (pa.array(positions, pa.int64()), pa.array(lines, pa.large_binary()))
    return pa.table({"position": columns[0], "task_type": task_types, "line": columns[1]})


def _decide(operation: bytes, shard: Any) -> Any:
    import pyarrow as pa

    shard = shard.sort_by("position")
    records = [decode_record(line.as_py()) for line in shard["line"]]
    results: list[Any] = []
    try:
        for decision in decide_shard(pickle.loads(operation), records):
            results.append((encode_record(decision.record), decision.entry))
    except DanluError as error:
        results = [error] * len(records)
    return pa.table({"position": shard["position"], "result": _packed(results)})
