"""The door: runs a command and turns its outcome into a message and an exit status."""

from __future__ import annotations

import click

from paddock import console
from paddock.cli import paddock
from paddock.errors import Interrupted, PaddockError, ReaderGoneError, not_utf8, refused_by_system


def run(arguments: list[str]) -> int:
    """Run `paddock` with `arguments`; return its exit status instead of exiting."""
    try:
        paddock.main(args=arguments, prog_name="paddock", standalone_mode=False)
    except ReaderGoneError as gone:
        return gone.exit_code
    except click.ClickException as failure:
        console.usage_error(failure)
        return failure.exit_code
    except (Exception, KeyboardInterrupt) as failure:
        expected = _expected(failure)
        if expected is None:
            raise
        console.give_up_what_cannot_be_written()
        console.error(expected)
        return expected.exit_code
    return 0


def _expected(failure: BaseException) -> PaddockError | None:
    """What a user is told of a failure; None for a fault of ours.

    What a file system can say is turned into words here, for every command alike; below, only where more is
    known than the path.
    """
    match failure:
        case PaddockError():
            return failure
        case KeyboardInterrupt() | click.Abort():
            return Interrupted("interrupted")
        case OSError():
            return refused_by_system(failure)
        case UnicodeError():
            return not_utf8(failure)
    return None
