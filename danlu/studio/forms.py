"""What a page sends: forms as HTMX and browsers encode them, read without another package."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import Request

from danlu.errors import DanluError

MOST_FIELDS = 5000


class Form:
    """The fields of a form.

    Example:
        >>> form = Form(b"run=runs%2Fa&tag=x&tag=y")
        >>> form["run"], form.all("tag"), form.get("note")
        ('runs/a', ['x', 'y'], '')
    """

    def __init__(self, body: bytes) -> None:
        try:
            self._fields = parse_qs(
                body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS
            )
        except ValueError as error:
            raise DanluError(f"not a form: {error}.") from error

    def __getitem__(self, name: str) -> str:
        """Return a field that must be there.

        Raises:
            DanluError: If it is not.
        """
        if name not in self._fields:
            raise DanluError("is missing in the form.", where=name)
        return self._fields[name][-1]

    def get(self, name: str, default: str = "") -> str:
        """Return a field, or the default."""
        return self._fields.get(name, [default])[-1]

    def all(self, name: str) -> list[str]:
        """Return all fields of a name."""
        return list(self._fields.get(name, []))

    def names(self) -> list[str]:
        """Return the names of all fields."""
        return list(self._fields)


async def read_form(request: Request) -> Form:
    """Read the form that a request brings.

    Raises:
        DanluError: If it brings something else.
    """
    return Form(await request.body())
