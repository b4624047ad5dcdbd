"""What a studio is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from danlu.errors import DanluError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHORTEST_PASSWORD = 12


@dataclass(frozen=True)
class StudioSettings:
    """Everything a studio is told when it starts.

    Attributes:
        workspace: The working directory of the commands; pages reach nothing outside it.
        runs: Folders of run directories, as typed, from the workspace.
        host: Address it listens on.
        port: And the port; 0 takes a free one.
        password: Asked for in the browser; needed where other machines reach the address.
        names: Host names it answers to besides addresses and this machine's own name.
        body_bytes: Largest request.

    Raises:
        DanluError: If there is no such workspace, or others could reach it without a password.
    """

    workspace: Path
    runs: tuple[str, ...] = ("runs",)
    host: str = "127.0.0.1"
    port: int = 8760
    password: str | None = None
    names: tuple[str, ...] = ()
    body_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        if not self.workspace.is_dir():
            raise DanluError("there is no such folder.", where=str(self.workspace))
        if self.password is None and not self.is_local:
            raise DanluError(
                f"{self.host} is reached from other machines, and no password is set: put one of "
                f"at least {SHORTEST_PASSWORD} characters in a variable and give its name with "
                "--password-from-env, or listen on 127.0.0.1.",
                where="host",
            )
        if self.password is not None and len(self.password) < SHORTEST_PASSWORD:
            raise DanluError(
                f"has {len(self.password)} characters; it must have at least {SHORTEST_PASSWORD}.",
                where="password",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK
