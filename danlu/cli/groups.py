"""A group of commands whose usual one need not be named."""

from __future__ import annotations

from typing import Any, ClassVar

from typer.core import TyperGroup

HELP = ("-h", "--help")


class WithDefault(TyperGroup):
    """A group whose first argument may be what its default command takes, in place of a command.

    Attributes:
        default: The command that is meant where none is named.
    """

    default: ClassVar[str] = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command before what names no command."""
        if args and args[0] not in self.commands and args[0] not in HELP:
            args = [self.default, *args]
        return super().parse_args(ctx, args)
