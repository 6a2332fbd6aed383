"""The door: runs a command and turns its outcome into a message and an exit status."""

from __future__ import annotations

import click

from paddock import console
from paddock.cli import paddock
from paddock.errors import Interrupted, PaddockError


def run(arguments: list[str]) -> int:
    """Run `paddock` with `arguments`; return its exit status instead of exiting."""
    try:
        paddock.main(args=arguments, prog_name="paddock", standalone_mode=False)
    except PaddockError as failure:
        console.error(failure)
        return failure.exit_code
    except (KeyboardInterrupt, click.Abort):
        console.error(Interrupted("interrupted"))
        return Interrupted.exit_code
    except click.ClickException as failure:
        console.usage_error(failure)
        return failure.exit_code
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    return 0
