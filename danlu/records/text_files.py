"""Text files that people keep, read and appended to line by line."""

from __future__ import annotations

import os
from pathlib import Path


def text_lines(path: Path | str) -> list[str]:
    r"""Return the lines of a text file in UTF-8, without their ends.

    The mark that some editors write first (BOM) is no part of the first line, and a line ends only
    at a line end: ``str.splitlines`` also cuts at U+2028 and others, which JSON leaves in texts.

    Raises:
        OSError: If it cannot be read.
        UnicodeDecodeError: If it is not UTF-8.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ids.txt"
        >>> _ = path.write_text("\ufeffa1\r\nb\u2028c\n", "utf-8")
        >>> text_lines(path)
        ['a1', 'b\u2028c']
    """
    lines = Path(path).read_text("utf-8-sig").split("\n")
    return lines[:-1] if not lines[-1] else lines


def append_whole_line(path: Path, line: bytes, mode: int = 0o666) -> None:
    """Append a line that ends with a line end, whole even if several processes append at once.

    Where the file ends inside a line, which a full disk or an editor may leave behind, a line end
    comes first: otherwise both lines would be lost, that one and this.

    Args:
        path: The file; it and its folder are made where they are missing.
        line: One line, or several.
        mode: Who may read a file that is made here.

    Raises:
        OSError: If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
    try:
        if os.lseek(opened, 0, os.SEEK_END):
            os.lseek(opened, -1, os.SEEK_END)
            line = line if os.read(opened, 1) == b"\n" else b"\n" + line
        while line:
            line = line[os.write(opened, line) :]
    finally:
        os.close(opened)
