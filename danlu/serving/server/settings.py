"""How a server serves: limits, keys, who may ask from where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from danlu.errors import DanluError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServerSettings:
    """Everything about a server but its models.

    Attributes:
        host: Address it listens on.
        port: And the port; 0 takes a free one.
        keys: File of API keys; None asks for none.
        origins: Web pages that may ask from a browser (CORS); none by default.
        longest: Longest answer in tokens, and the answer's limit where a request names none.
        seconds: How long a request may take.
        body_bytes: Largest request.
        concurrency: Requests answered at a time; more are refused with 429.
        client_s: How long a client may take to send the head of a request and then its body, and
            to read what is there for it.
        drain_s: How long answers under way may go on after SIGTERM.
        capture: Folder that conversations are written to; None writes nothing.
        keep_days: For how long they are kept.

    Raises:
        DanluError: If a number is out of its limits, or it would be open to others without keys.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    origins: tuple[str, ...] = ()
    longest: int = 1024
    seconds: float = 600.0
    body_bytes: int = 4 * 2**20
    concurrency: int = 256
    client_s: float = 30.0
    drain_s: float = 30.0
    capture: Path | None = None
    keep_days: int = 30

    def __post_init__(self) -> None:
        for name in ("longest", "seconds", "body_bytes", "concurrency", "client_s", "keep_days"):
            if not getattr(self, name) > 0:
                raise DanluError(f"is {getattr(self, name)}; it must be above 0.", where=name)
        if self.host not in LOOPBACK and self.keys is None:
            raise DanluError(
                f"{self.host} is reached from other machines, and no API keys are asked for: make "
                "some with `danlu keys add NAME` and give --keys, or listen on 127.0.0.1.",
                where="host",
            )
