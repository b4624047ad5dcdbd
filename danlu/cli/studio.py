"""``danlu studio``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.output import note
from danlu.errors import DanluError

EPILOG = """\b
Examples:
  danlu studio
  danlu studio --workspace ~/work --port 9000 --no-open
  PASSWORD='a long one of your own' danlu studio --host 0.0.0.0 --password-from-env PASSWORD
"""


def studio(
    workspace: Annotated[
        Path, typer.Option(help="Folder that the commands work in; pages reach nothing outside.")
    ] = Path(),
    runs: Annotated[
        list[str] | None,
        typer.Option(help="A folder of run directories, from the workspace; else runs."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8760,
    password_from_env: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE",
            help="Ask for the password in this variable; needed for a --host "
            "that other machines reach.",
        ),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="A further name that browsers may call it by, as behind a proxy."),
    ] = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address; open no browser.")
    ] = False,
) -> int:
    """Open the studio: the whole workspace in the browser.

    It reads what the commands wrote and starts the same commands.
    """
    from danlu.serving.needs import must_have

    must_have("fastapi", "uvicorn", extra="studio")
    from danlu.serving.listening import listen
    from danlu.studio.run import serve
    from danlu.studio.settings import StudioSettings

    password = None
    if password_from_env is not None:
        password = os.environ.get(password_from_env)
        if password is None:
            raise DanluError("there is no such variable.", where=password_from_env)
    settings = StudioSettings(
        workspace=workspace,
        runs=tuple(runs or ("runs",)),
        host=host,
        port=port,
        password=password,
        names=tuple(host_name or ()),
    )
    with listen(host, port) as listening:
        serve(
            settings,
            listening,
            open_browser=not no_open,
            ready=lambda address: note(f"The studio is at {address} (Ctrl-C ends it)"),
        )
    return 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("studio", epilog=EPILOG)(studio)
