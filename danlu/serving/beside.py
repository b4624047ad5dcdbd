"""Two answers at a time: in columns where the terminal is wide enough, else one after another."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from queue import SimpleQueue

from rich.cells import cell_len, get_character_cell_size

from danlu.errors import DanluError

LEAST_COLUMNS = 80
"""A terminal of fewer columns shows answers one after another."""
BETWEEN = " │ "
LEAVE_S = 10.0
"""How long a broken-off answer may take to end."""


class Wrapped:
    r"""Text cut into rows as it comes; a row that was given never changes.

    Western words stay whole where a row is long enough; Chinese may be cut anywhere. Wide
    characters count as two columns.

    Args:
        width: Columns of a row; two at least.

    Example:
        >>> rows = Wrapped(8)
        >>> rows.push("丹炉 is a fur"), rows.push("nace\n炉火纯青"), rows.finish()
        (['丹炉 is'], ['a', 'furnace'], ['炉火纯青'])
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._row = ""
        self._word = ""

    def push(self, text: str) -> list[str]:
        """Take more text; return the rows that are certain now."""
        rows: list[str] = []
        for character in text:
            self._add(character, rows)
        return rows

    def finish(self) -> list[str]:
        """Return what is left."""
        left = (self._row + self._word).rstrip()
        self._row = self._word = ""
        return [left] if left else []

    def _add(self, character: str, rows: list[str]) -> None:
        if character == "\n":
            rows.append((self._row + self._word).rstrip())
            self._row = self._word = ""
        elif character.isspace():
            self._row += self._word
            self._word = ""
            if cell_len(self._row) < self._width:
                self._row += " "
        elif get_character_cell_size(character) > 1:
            self._row += self._word
            self._word = ""
            if cell_len(self._row) + 2 > self._width:
                rows.append(self._row.rstrip())
                self._row = ""
            self._row += character
        else:
            self._word += character
            if cell_len(self._row) + cell_len(self._word) > self._width and self._row:
                rows.append(self._row.rstrip())
                self._row = ""
            if cell_len(self._word) > self._width:
                rows.append(self._word[:-1])
                self._word = self._word[-1]


class Columns:
    """Answers beside one another, row by row as they come.

    Args:
        names: Headings, one for each answer.
        width: Of the terminal.
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        self._width = (width - len(BETWEEN) * (len(names) - 1)) // len(names)
        self._names = names
        self._wrapped = [Wrapped(self._width) for _ in names]
        self._rows: list[list[str]] = [[] for _ in names]
        self._ended = [False] * len(names)

    def head(self) -> list[str]:
        """Return the headings."""
        columns = [Wrapped(self._width) for _ in self._names]
        rows = [
            one.push(name) + one.finish() for one, name in zip(columns, self._names, strict=True)
        ]
        height = max(map(len, rows))
        lines = [
            self._line([row[k] if k < len(row) else "" for row in rows]) for k in range(height)
        ]
        return [*lines, "─┼─".join("─" * self._width for _ in self._names)]

    def push(self, index: int, piece: str | None) -> list[str]:
        """Take more of an answer, None at its end; return the lines that are certain now."""
        column = self._wrapped[index]
        self._rows[index] += column.finish() if piece is None else column.push(piece)
        self._ended[index] |= piece is None
        lines = []
        while any(self._rows) and all(
            rows or ended for rows, ended in zip(self._rows, self._ended, strict=True)
        ):
            lines.append(self._line([rows.pop(0) if rows else "" for rows in self._rows]))
        return lines

    def _line(self, cells: Sequence[str]) -> str:
        padded = [cell + " " * (self._width - cell_len(cell)) for cell in cells]
        return BETWEEN.join(padded).rstrip()


def interleaved(
    answers: Sequence[Generator[str, None, None]],
) -> Generator[tuple[int, str | None], None, None]:
    """Draw answers at the same time, each in a thread, and yield their pieces as they come.

    Yields:
        The answer's number and a piece of it, or None at its end.

    Raises:
        DanluError: The first that an answer raised, when all have ended.
    """
    coming: SimpleQueue[tuple[int, str | BaseException | None]] = SimpleQueue()
    left = threading.Event()

    def draw(index: int) -> None:
        try:
            with closing(answers[index]) as answer:
                for piece in answer:
                    coming.put((index, piece))
                    if left.is_set():
                        break
        except BaseException as error:  # noqa: BLE001 - it is raised where the answers are read
            coming.put((index, error))
        else:
            coming.put((index, None))

    threads = [
        threading.Thread(target=draw, args=(index,), daemon=True) for index in range(len(answers))
    ]
    fault: BaseException | None = None
    try:
        for thread in threads:
            thread.start()
        under_way = len(answers)
        while under_way:
            index, piece = coming.get()
            if isinstance(piece, BaseException):
                fault = fault or piece
                piece = None
            under_way -= piece is None
            yield index, piece
    finally:
        left.set()
        for thread in threads:
            thread.join(LEAVE_S)
    if isinstance(fault, DanluError):
        raise fault
    if fault is not None:
        raise RuntimeError("an answer failed") from fault
