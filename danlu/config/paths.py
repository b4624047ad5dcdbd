"""Where Danlu keeps what it made once and uses again."""

from __future__ import annotations

import os
from pathlib import Path


def danlu_home() -> Path:
    """Return the cache directory: ``$DANLU_HOME``, or ``~/.cache/danlu``. It need not exist.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, DANLU_HOME="/data/danlu"):
        ...     str(danlu_home())
        '/data/danlu'
    """
    given = os.environ.get("DANLU_HOME", "")
    return Path(given or "~/.cache/danlu").expanduser().absolute()
