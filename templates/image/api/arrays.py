"""Arrays between two processes of this service, through a pipe and without copies in between."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def send(pipe: Connection, arrays: Sequence[Array]) -> None:
    """Send arrays of any shape and type."""
    whole = [np.ascontiguousarray(array) for array in arrays]
    pipe.send([(array.shape, array.dtype.str) for array in whole])
    for array in whole:
        pipe.send_bytes(array.reshape(-1).view(np.uint8).data)


def receive(pipe: Connection, described: Sequence[tuple[tuple[int, ...], str]]) -> list[Array]:
    """The arrays that follow their description, which `send` sent first; raises OSError if one came in part."""
    arrays = [np.empty(shape, kind) for shape, kind in described]
    for array in arrays:
        if pipe.recv_bytes_into(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise OSError("an array came in part")
    return arrays
