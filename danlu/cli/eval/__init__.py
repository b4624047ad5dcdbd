"""``danlu eval …``: one module per command; ``danlu eval SUITE`` is ``danlu eval run SUITE``."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from danlu.cli.eval import list_, make_suite, run, score, show

EPILOG = """\b
Examples:
  danlu eval general --model runs/my-run
  danlu eval show evals/general-my-run --wrong 5

`danlu eval SUITE` is short for `danlu eval run SUITE`.
"""
HELP = ("-h", "--help")


class _WithDefault(TyperGroup):
    """A group whose first argument may be a suite instead of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` before what names no command."""
        if args and args[0] not in self.commands and args[0] not in HELP:
            args = ["run", *args]
        return super().parse_args(ctx, args)


group = typer.Typer(
    name="eval",
    help="Ask a model a suite, and score its answers by task type.",
    epilog=EPILOG,
    cls=_WithDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _module in (run, score, show, list_, make_suite):
    _module.register(group)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="eval")
