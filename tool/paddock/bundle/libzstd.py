"""libzstd for the whole package: from the standard library where Python has it, from backports.zstd before 3.14."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
