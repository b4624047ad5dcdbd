"""Where Danlu keeps what it made once and uses again."""

from __future__ import annotations

import os
from pathlib import Path


def danlu_home() -> Path:
    """Return the cache directory: ``$DANLU_HOME``, or ``~/.cache/danlu``. It need not exist.

    Example:
        >>> import os
        >>> os.environ["DANLU_HOME"] = "/data/danlu"
        >>> danlu_home()
        PosixPath('/data/danlu')
        >>> del os.environ["DANLU_HOME"]
    """
    given = os.environ.get("DANLU_HOME", "")
    return Path(given or "~/.cache/danlu").expanduser().absolute()
