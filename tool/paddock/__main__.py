"""Where a process begins. Until the door is loaded, an interrupt ends it as any program: no traceback."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run `paddock` with the arguments of this process, and exit."""
    asked = signal.getsignal(signal.SIGINT)
    if asked is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from paddock.door import run  # noqa: PLC0415 - loading it takes time, in which Ctrl-C may come

    signal.signal(signal.SIGINT, asked)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
