"""What folders hold besides data files: named for the user, so that nothing is left out unseen."""

from __future__ import annotations

from collections.abc import Sequence

from danlu.cli.output import note

NAMES_SHOWN = 5


def note_passed_over(names: Sequence[str]) -> None:
    """Print a note that names the first files passed over, and counts the rest.

    Args:
        names: ``Reading.passed_over``; nothing is printed where there are none.
    """
    if not names:
        return
    shown = ", ".join(names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    note(f"passed over, being no data files: {shown}{more}")
