"""Memory of the process: how the allocator behaves, and how much was held."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep large blocks that are freed, instead of giving them back at once.

    A pack's activations are blocks of some tens of MB. glibc maps each anew and the kernel clears
    every page of it again, for each layer of each pack; keeping them saves that. Only glibc has
    the switch; elsewhere nothing happens.

    Returns:
        Whether it took effect.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        and libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    )


def peak_bytes(device: torch.device) -> int:
    """Return the most memory held so far: of a CUDA device, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
