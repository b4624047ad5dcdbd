"""``danlu diagnose …``; ``danlu diagnose RUN`` is ``danlu diagnose run RUN``."""

from __future__ import annotations

import typer

from danlu.cli.diagnose import list_, run, show
from danlu.cli.groups import WithDefault

EPILOG = """\b
Examples:
  danlu diagnose runs/my-run
  danlu diagnose runs/my-run --curves
  danlu diagnose show runs/my-run

`danlu diagnose RUN` is short for `danlu diagnose run RUN`.
"""

group = typer.Typer(
    name="diagnose",
    help="Say what went wrong in a run, and what to do.",
    epilog=EPILOG,
    cls=WithDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _module in (run, show, list_):
    _module.register(group)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="diagnose")
