"""The pages: one module each with a ``router``, in the order of the navigation."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from fastapi import APIRouter

ORDER = (
    ("runs", "r"),
    ("data", "d"),
    ("evaluation", "e"),
    ("vote", "v"),
    ("chat", "c"),
    ("diagnosis", "x"),
)
"""Names of the modules here, and the key that opens each after ``g``."""


@dataclass(frozen=True)
class Page:
    """One entry of the navigation.

    Attributes:
        name: Of its module, its templates, its script and its part of the catalogues.
        key: Opens it after ``g``.
        router: Its addresses, all under ``/NAME``.
    """

    name: str
    key: str
    router: APIRouter

    @property
    def path(self) -> str:
        """Where it begins."""
        return f"/{self.name}"


def _found() -> tuple[Page, ...]:
    modules = [(name, key, f"{__name__}.{name}") for name, key in ORDER]
    return tuple(
        Page(name, key, importlib.import_module(module).router)
        for name, key, module in modules
        if importlib.util.find_spec(module)
    )


PAGES = _found()
"""All pages that there are."""


def page_of(path: str) -> str:
    """Return the name of the page an address belongs to; empty for none.

    Example:
        >>> page_of("/runs/show/runs/a"), page_of("/login")
        ('runs', '')
    """
    first = path.strip("/").split("/")[0]
    return first if first in {page.name for page in PAGES} else ""
