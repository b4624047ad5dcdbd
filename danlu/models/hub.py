"""The model hub: whether it can be asked, so that an offline machine answers at once.

Left to itself the hub's client tries for most of a minute, once a file, before it gives up.
"""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

from danlu.errors import ModelError

TIMEOUT_S = 10.0


def must_be_local(name: str) -> bool:
    """Tell whether a hub model must come from the hub's cache on this machine.

    Args:
        name: A hub id.

    Returns:
        True if the hub is switched off or cannot be reached, and the model is in the cache; False
        if the hub can be asked.

    Raises:
        ModelError: If the hub cannot be asked and the model is not in the cache.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and _reachable(constants.ENDPOINT):
        return False
    if _is_cached(name):
        return True
    reason = (
        "HF_HUB_OFFLINE is set"
        if constants.HF_HUB_OFFLINE
        else f"{constants.ENDPOINT} is not reachable"
    )
    raise ModelError(
        f"no such folder here, and as a hub id it cannot be fetched: {reason}. Give a local "
        "folder or builtin:smollm2-135m-instruct, or go online.",
        where=name,
    )


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    files = ("config.json", "tokenizer.json", "tokenizer_config.json")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _reachable(endpoint: str) -> bool:
    """Ask once; any answer will do, and so will a fault that is not the network's."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return not isinstance(error.reason, socket.gaierror | ConnectionError | TimeoutError)
    except (TimeoutError, ConnectionError):
        return False
    return True
