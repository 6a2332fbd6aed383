"""Has documents looked at and cut by a process of its own (cutter.py), which ends with each question."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import cutter
from failures import GiveUp, Killed

WITHIN = 300.0  # seconds
KEEP = 1000  # characters of what it said
log = logging.getLogger("uvicorn.error")


async def count(document: Path, ranges: str) -> int:
    """The number of pages that `ranges` asks for; raises GiveUp and Killed."""
    return int(await _ask("look", str(document), ranges) or 0)


async def cut(document: Path, ranges: str, first: int, last: int) -> bytes | None:
    """A document of pages `first` to `last` of those that `ranges` asks for; None when these are all that it has.

    Raises GiveUp and Killed.
    """
    return await _ask("cut", str(document), ranges, str(first), str(last))


async def _ask(*arguments: str) -> bytes | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        cutter.__file__,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        written, said = await asyncio.wait_for(process.communicate(), WITHIN)
    except TimeoutError:
        raise GiveUp(f"the document was not read within {WITHIN:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return written
    if process.returncode == cutter.WHOLE:
        return None
    told = said.decode("utf-8", "replace").strip()
    if process.returncode == cutter.REFUSED:
        raise GiveUp(told)
    log.warning("the reader of a document ended with status %s: %s", process.returncode, told[-KEEP:])
    raise Killed(f"the reader of the document ended with status {process.returncode}: it is damaged, or made to do so")
