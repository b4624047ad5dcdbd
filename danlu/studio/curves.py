"""The curves of a run: its metrics as columns that grow with the file, and what a chart needs."""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from danlu.errors import RunError
from danlu.runs import MetricsRow
from danlu.runs.curves import epoch_marks
from danlu.runs.files import parse_row
from danlu.runs.history import Column
from danlu.studio.curve_cache import WORTH_ROWS, CurveCache

if TYPE_CHECKING:
    import numpy as np

MOST_RUNS = 24
"""Runs whose columns are kept in memory; a hundred thousand rows of four task types are 15 MB."""
MARK_BYTES = 256
NEEDED = (
    *("step", "split", "epoch", "loss", "channels", "metrics", "elapsed_s"),
    *("learning_rate", "grad_norm", "tokens_per_second"),
)
_needed = itemgetter(*NEEDED)
SERIES = ("learning_rate", "grad_norm", "tokens_per_second")
"""Numbers of a row that are curves of their own, besides loss and metrics."""


_SCALARS = ("_offset", "_line", "last", "elapsed_s", "epoch")


class Key(NamedTuple):
    """Which curve.

    Attributes:
        number: ``loss``, one of ``SERIES``, or ``metrics.NAME``.
        split: ``train`` or ``eval``.
        task_type: Empty for all together.
    """

    number: str
    split: str
    task_type: str = ""


@dataclass
class _Growing:
    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    seen: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        self._step, self._value = self.steps.append, self.values.append

    def add(self, step: int, value: float) -> None:
        self._step(step)
        self._value(value)

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies as arrays; the same ones until a point is added."""
        import numpy as np

        if self.seen is None or len(self.seen[0]) != len(self.steps):
            self.seen = (np.array(self.steps, np.int64), np.array(self.values, np.float64))
        return self.seen


class RunCurves:
    """The columns of one run; ``update`` reads what was appended since.

    Attributes:
        last: The last step.
        elapsed_s: Seconds of training.
    """

    def __init__(self, path: Path, cache: CurveCache | None = None) -> None:
        self._path = path
        self._cache = cache
        self._lock = threading.Lock()
        self._begin()
        self._restore()

    def _begin(self) -> None:
        self._offset, self._mark, self._line = 0, b"", 0
        self._series: dict[Key, _Growing] = {}
        self._epochs = Column()
        self.last, self.elapsed_s, self.epoch = 0, 0.0, 0.0

    def update(self) -> None:
        """Read new rows; all anew if the file was cut, as a resumed run does.

        Raises:
            RunError: At a row that is broken.
        """
        with self._lock:
            try:
                file = self._path.open("rb")
            except FileNotFoundError:
                self._begin()
                return
            with file:
                file.seek(max(0, self._offset - len(self._mark)))
                if file.read(len(self._mark)) != self._mark:
                    self._begin()
                    file.seek(0)
                content = file.read()
            end = content.rfind(b"\n") + 1  # a torn last line waits for its rest
            if not end:
                return
            before = self._line
            try:
                for line in content[:end].splitlines():
                    self._line += 1
                    self._add(line)
            except RunError:  # the next look begins anew: no row may be taken twice
                self._begin()
                raise
            self._offset += end
            self._mark = (self._mark + content[:end])[-MARK_BYTES:]
            if self._line - before >= WORTH_ROWS:
                self._save()

    def keys(self) -> list[Key]:
        """Return which curves there are, in order of appearance."""
        return list(self._series)

    def has(self, key: Key) -> bool:
        """Whether there is such a curve."""
        return key in self._series

    def columns(self, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """Return steps, ascending, and values of a curve."""
        return self._series[key].columns()

    def epochs(self) -> list[tuple[float, int]]:
        """Return where each epoch ends: step, and epochs done."""
        return epoch_marks(self._epochs)

    def _add(self, line: bytes) -> None:
        """Put a row into the columns; a hundred thousand times before a long run's page opens."""
        row = _plain(line, f"{self._path}:{self._line}")
        step, split, metrics = row["step"], row["split"], row["metrics"]
        if step > self.last:
            self.last = step
        self.elapsed_s = max(self.elapsed_s, row["elapsed_s"])
        series: Any = self._series  # plain tuples are found too, and made faster than keys
        (series.get(("loss", split, "")) or self._new("loss", split)).add(step, row["loss"])
        for name in metrics:
            self._new(f"metrics.{name}", split).add(step, metrics[name])
        if split == "train":
            self.epoch = max(self.epoch, row["epoch"])
            self._epochs.add(step, row["epoch"])
            for name in SERIES:
                value = row[name]
                if value is not None:
                    (series.get((name, split, "")) or self._new(name, split)).add(step, value)
        for task_type, channel in row["channels"].items():
            known = series.get(("loss", split, task_type)) or self._new("loss", split, task_type)
            known.add(step, channel["loss"])
            for name, value in (channel.get("metrics") or {}).items():
                self._new(f"metrics.{name}", split, task_type).add(step, value)

    def _save(self) -> None:
        if self._cache is None:
            return
        known = {name: getattr(self, name) for name in _SCALARS}
        known |= {"keys": [list(key) for key in self._series], "mark": self._mark.hex()}
        columns = [column for growing in self._series.values() for column in growing.columns()]
        epochs = [_array(self._epochs.steps), _array(self._epochs.values)]
        self._cache.save(self._path, known, [*columns, *epochs])

    def _restore(self) -> None:
        """Take what was kept; where the file is another by now, its mark says so."""
        kept = self._cache.load(self._path) if self._cache else None
        if kept is None:
            return
        known, columns = kept
        for name in _SCALARS:
            setattr(self, name, known[name])
        self._mark = bytes.fromhex(known["mark"])
        pairs = list(zip(columns[::2], columns[1::2], strict=True))
        for key, (steps, values) in zip(known["keys"], pairs, strict=False):
            growing = self._new(*key)
            growing.steps.frombytes(steps.tobytes())
            growing.values.frombytes(values.tobytes())
        for column, values in zip(
            (self._epochs.steps, self._epochs.values), pairs[-1], strict=True
        ):
            column.frombytes(values.tobytes())

    def _new(self, number: str, split: str, task_type: str = "") -> _Growing:
        return self._series.setdefault(Key(number, split, task_type), _Growing())


class Curves:
    """The columns of the runs that were looked at last."""

    def __init__(self, cache: CurveCache | None = None) -> None:
        self._lock = threading.Lock()
        self._cache = cache
        self._runs: OrderedDict[Path, RunCurves] = OrderedDict()

    def of(self, path: Path) -> RunCurves:
        """Return a run's curves, up to date.

        Args:
            path: Its ``metrics.jsonl``.

        Raises:
            RunError: At a row that is broken.
        """
        with self._lock:
            curves = self._runs.pop(path, None) or RunCurves(path, self._cache)
            self._runs[path] = curves
            while len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
        curves.update()
        return curves


class Grid(NamedTuple):
    """Buckets of whole steps, the same for all curves of a chart.

    Attributes:
        first: The first step.
        width: Steps in a bucket.
        buckets: How many.
    """

    first: int
    width: int
    buckets: int

    @classmethod
    def over(cls, first: int, last: int, points: int) -> Grid:
        """Cut a range into at most ``points`` buckets.

        Example:
            >>> Grid.over(1, 1000, 300)
            Grid(first=1, width=4, buckets=250)
        """
        width = max(1, math.ceil((last - first + 1) / points))
        return cls(first, width, math.ceil((last - first + 1) / width))

    def x(self) -> list[float]:
        """Return the middle of each bucket."""
        middle = (self.width - 1) / 2
        return [self.first + index * self.width + middle for index in range(self.buckets)]


def bucketed(
    columns: tuple[np.ndarray, np.ndarray], grid: Grid
) -> tuple[list[float | None], list[float | None], list[float | None]]:
    """Reduce a curve to a grid: mean, lowest and highest of each bucket; None where it has none.

    A spike of one step stays visible, as its bucket's highest.

    Example:
        >>> import numpy as np
        >>> columns = (np.array([1, 2, 3, 5]), np.array([4.0, 2.0, 1.0, 8.0]))
        >>> bucketed(columns, Grid(1, 2, 3))
        ([3.0, 1.0, 8.0], [2.0, 1.0, 8.0], [4.0, 1.0, 8.0])
    """
    import numpy as np

    steps, values = columns
    begin, end = np.searchsorted(steps, [grid.first, grid.first + grid.width * grid.buckets])
    places = (steps[begin:end] - grid.first) // grid.width
    inside = values[begin:end]
    full: list[list[float | None]] = [[None] * grid.buckets for _ in range(3)]
    if not len(inside):
        return full[0], full[1], full[2]
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    counts = np.diff(starts, append=len(inside))
    reduced = (
        np.add.reduceat(inside, starts) / counts,
        np.minimum.reduceat(inside, starts),
        np.maximum.reduceat(inside, starts),
    )
    where = places[starts].tolist()
    for column, numbers in zip(full, reduced, strict=True):
        for place, number in zip(where, numbers.tolist(), strict=True):
            column[place] = float(f"{number:.5g}")
    return full[0], full[1], full[2]


def chart_data(
    runs: Sequence[tuple[str, RunCurves]], first: int | None, last: int | None, points: int
) -> dict[str, Any]:
    """Return all curves of runs over a range of steps, as the page's script reads them.

    Args:
        runs: By name.
        first: First step; None for the runs' own.
        last: Last step; likewise.
        points: Most buckets per curve.
    """
    end = max([curves.last for _, curves in runs], default=0)
    low = max(0, first if first is not None else 0)
    high = min(end, last) if last is not None else end
    grid = Grid.over(low, max(low, high), points)
    series = []
    for number, (_, curves) in enumerate(runs):
        for key in curves.keys():  # noqa: SIM118 - not a mapping
            mean, lowest, highest = bucketed(curves.columns(key), grid)
            entry: dict[str, Any] = {"run": number, **key._asdict(), "y": mean}
            if grid.width > 1 and key.split == "train":
                entry |= {"low": lowest, "high": highest}
            series.append(entry)
    return {
        "x": grid.x(),
        "width": grid.width,
        "first": low,
        "last": max(low, high),
        "end": end,
        "series": series,
        "epochs": runs[0][1].epochs() if runs else [],
    }


def _array(column: array[float]) -> np.ndarray:
    """Return a copy of a column."""
    import numpy as np

    return np.array(column, np.float64)


def _plain(line: bytes, where: str) -> dict[str, Any]:
    """Parse a row as plain data: four times as fast as into a model, which only names the fault."""
    try:
        row = from_json(line, cache_strings="all", allow_inf_nan=False)
        _needed(row)
    except (ValueError, KeyError, TypeError):
        row = parse_row(MetricsRow, line, where).model_dump()  # raises, or fills in defaults
    return row  # type: ignore[no-any-return]
