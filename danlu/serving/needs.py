"""Packages of extras, asked for in words before they are imported."""

from __future__ import annotations

import importlib.util

from danlu.errors import DanluError


def must_have(*packages: str, extra: str) -> None:
    """Check that packages are installed.

    Raises:
        DanluError: If not; names the extra that brings them.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise DanluError(
            f"this needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed: pip install 'danlu[{extra}]'."
        )
