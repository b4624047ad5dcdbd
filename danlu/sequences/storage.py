"""Columns of numbers that grow by pieces, in memory or in the files of a directory.

A file is nothing but the array's bytes, so it can be appended to while its length is unknown and
mapped afterwards. A directory appears under its name only when it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Strings(Sequence[str]):
    """Many short strings in two arrays, so that they can be mapped from a file.

    Args:
        text: uint8: the UTF-8 bytes of all strings, one after another.
        offsets: int64 ``(n + 1,)``: where each begins.

    Example:
        >>> Strings.of(["你好", "", "b"])[0]
        '你好'
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.text = text
        self.offsets = offsets

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """Put strings into arrays."""
        encoded = [string.encode() for string in strings]
        text = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(text, offsets_of(np.fromiter(map(len, encoded), np.int64, len(encoded))))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return self.text[self.offsets[place] : self.offsets[place + 1]].tobytes().decode()


def offsets_of(lengths: Array) -> NDArray[np.int64]:
    """Return where each of several consecutive stretches begins, and where the last one ends.

    Example:
        >>> offsets_of(np.array([2, 0, 3])).tolist()
        [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: Array, lengths: Array) -> NDArray[np.int64]:
    """Return the indices of several stretches, one after another.

    Example:
        >>> ranges(np.array([7, 0]), np.array([3, 2])).tolist()
        [7, 8, 9, 0, 1]
    """
    begins = offsets_of(lengths)
    indices = np.arange(begins[-1], dtype=np.int64)
    indices += np.repeat(starts - begins[:-1], lengths)
    return indices


class Columns:
    """Named arrays that are appended to; a context manager, which closes their files.

    Args:
        types: The columns and their dtypes.
        directory: Where their files are; None keeps them in memory.
    """

    def __init__(self, types: Mapping[str, type[np.generic]], directory: Path | None) -> None:
        self._types = dict(types)
        self._directory = directory
        self._pieces: dict[str, list[Array]] = {name: [] for name in types}
        self._files: dict[str, BinaryIO] = {}
        self._open = ExitStack()
        if directory is not None:
            for name in types:
                file = column_file(directory, name).open("wb")
                self._files[name] = self._open.enter_context(file)

    def __enter__(self) -> Columns:
        return self

    def __exit__(self, *fault: object) -> None:
        self._open.close()

    def append(self, **pieces: Array) -> None:
        """Append to every column; each is converted to its dtype."""
        for name, dtype in self._types.items():
            piece = np.ascontiguousarray(pieces[name], dtype=dtype)
            if self._directory is None:
                self._pieces[name].append(piece)
            else:
                self._files[name].write(piece.data)

    def finish(self) -> dict[str, Array]:
        """Return the whole columns; those in files are mapped and may be written to."""
        self._open.close()
        if self._directory is not None:
            return read_columns(self._types, self._directory, mode="r+")
        return {
            name: np.concatenate([np.empty(0, dtype), *self._pieces.pop(name)])
            for name, dtype in self._types.items()
        }


def column_file(directory: Path, name: str) -> Path:
    """Return the file of a column."""
    return directory / f"{name}.bin"


def read_columns(
    types: Mapping[str, type[np.generic]], directory: Path, mode: str = "r"
) -> dict[str, Array]:
    """Map the columns of a directory."""
    columns: dict[str, Array] = {}
    for name, dtype in types.items():
        file = column_file(directory, name)
        if file.stat().st_size:
            mapped = np.memmap(file, dtype=dtype, mode=mode)  # type: ignore[call-overload]
            columns[name] = np.asarray(mapped)  # a plain view: slicing a memmap is slow
        else:
            columns[name] = np.empty(0, dtype)  # an empty file cannot be mapped
    return columns


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Give a temporary directory that takes its name when all went well, and vanishes otherwise.

    An older directory of that name is replaced.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    growing = directory.with_name(f".{directory.name}.{os.getpid()}.new")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir()
    try:
        yield growing
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    if directory.exists():
        old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
        growing.rename(directory)
        shutil.rmtree(old)
    else:
        growing.rename(directory)
