"""Short notes for the person at the terminal; always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Notes:
    """Prints notes, or keeps silent.

    Args:
        show: Whether anything is printed.
    """

    def __init__(self, show: bool = True) -> None:
        from rich.console import Console

        self.show = show
        self.console = Console(stderr=True)

    def say(self, *lines: str) -> None:
        """Print each line, as it is."""
        if self.show:
            for line in lines:
                self.console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[str, int], None] | None]:
        """Show a running count while the block lasts; yields what to call with name and count."""
        if not (self.show and self.console.is_terminal):
            yield None
            return
        with self.console.status(what) as status:
            yield lambda name, count: status.update(f"{what}: {name} {count:,}")
