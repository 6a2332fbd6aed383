"""The judge: a process of its own that reads files from strangers with PDFium, Pillow and LibreOffice.

It reads a question a line from stdin and writes an answer a line to stdout, both JSON; `parse.judging` asks.
Its memory is limited here, its time by who asks. Only what runs in it loads PDFium and Pillow.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

from paddock.errors import UsageError
from paddock.parse.questions import DAMAGED_HINT, Task, Verdict

_MEMORY = 4 << 30  # bytes of address space: 16 for each of the most pixels, and the programs
_LARGEST_FILE = 2 << 30  # bytes that it may write
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def read(task: Task, path: Path, folder: Path) -> Verdict:
    """Do what is asked with the file at `path`; what is made of it goes to `folder`.

    Raises UsageError for a file that cannot be parsed; the message begins after the file's name.
    """
    # Each reader takes a while to load, and few batches need all of them.
    match task:
        case Task.PDF:
            from paddock.parse import pdfs  # noqa: PLC0415

            return pdfs.opened(path)
        case Task.WHOLE:
            from paddock.parse import pictures  # noqa: PLC0415

            return pictures.whole(path)
        case Task.PICTURE:
            from paddock.parse import pictures  # noqa: PLC0415

            return pictures.to_png(path, folder)
        case Task.OFFICE_KIND:
            from paddock.parse import office  # noqa: PLC0415

            return office.kind(path)
        case Task.OFFICE:
            from paddock.parse import office  # noqa: PLC0415

            return office.to_pdf(path, folder)


def answer(task: Task, path: Path, folder: Path) -> dict[str, object]:
    """Return the answer to a question as JSON has it: a verdict, a refusal with a hint, what is lacking."""
    try:
        return asdict(read(task, path, folder))
    except UsageError as refused:
        return {"refusal": refused.message, "hint": refused.hint}
    except MemoryError:
        return {"refusal": f"it takes more than {_MEMORY >> 30} GiB of memory to read", "hint": DAMAGED_HINT}
    except OSError as failure:
        if failure.errno in _NO_ROOM:
            return {"lacking": failure.strerror}
        return {"refusal": f"cannot be read: {failure.strerror or failure}", "hint": ""}
    except ImportError:  # this installation is not whole
        raise
    except Exception as fault:  # whatever a reader meets in a damaged file
        return {"refusal": f"the file is damaged: {fault or type(fault).__name__}", "hint": DAMAGED_HINT}


def main() -> None:
    """Answer until nobody asks any more."""
    warnings.simplefilter("ignore")  # readers warn of what they repair
    _limit(resource.RLIMIT_AS, _MEMORY)
    _limit(resource.RLIMIT_FSIZE, _LARGEST_FILE)
    _limit(resource.RLIMIT_CORE, 0)
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        for line in sys.stdin:
            question = json.loads(line)
            said = answer(Task(question["task"]), Path(question["path"]), Path(question["folder"]))
            answers.write(json.dumps(said) + "\n")
            answers.flush()


def _limit(what: int, most: int) -> None:
    """Allow this process `most`, or less where it has less already."""
    _, now = resource.getrlimit(what)
    least = most if now == resource.RLIM_INFINITY else min(most, now)
    resource.setrlimit(what, (least, least))


if __name__ == "__main__":
    main()
