"""libzstd for the whole package, from the standard library (Python 3.14 on) or from backports.zstd.

`zstd` is loaded on first use: most commands never look into a frame.
"""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
else:

    class _LoadedOnFirstUse:
        def __getattr__(self, name: str) -> object:
            in_standard_library = sys.version_info >= (3, 14)
            value = getattr(
                import_module("compression.zstd" if in_standard_library else "backports.zstd"), name
            )
            setattr(self, name, value)
            return value

    zstd = _LoadedOnFirstUse()

__all__ = ["compression_threads", "zstd"]

_M_ARENA_MAX = -8  # glibc's malloc.h


def compression_threads(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of `count` threads for compressing, which allocate from one heap.

    glibc gives each thread a heap of its own and hardly ever returns memory from it: a delta export would
    keep a third more memory, and take no less time.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only exports and deltas compress

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
    return ThreadPoolExecutor(count, name)
