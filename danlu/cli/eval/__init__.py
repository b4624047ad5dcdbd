"""``danlu eval …``: one module per command; ``danlu eval SUITE`` is ``danlu eval run SUITE``."""

from __future__ import annotations

import typer

from danlu.cli.eval import list_, make_suite, run, score, show
from danlu.cli.groups import WithDefault

EPILOG = """\b
Examples:
  danlu eval general --model runs/my-run
  danlu eval show evals/general-my-run --wrong 5

`danlu eval SUITE` is short for `danlu eval run SUITE`.
"""

group = typer.Typer(
    name="eval",
    help="Ask a model a suite, and score its answers by task type.",
    epilog=EPILOG,
    cls=WithDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _module in (run, score, show, list_, make_suite):
    _module.register(group)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="eval")
