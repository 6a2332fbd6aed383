"""Where a process begins. Until the door is loaded, an interrupt ends it as any program: no traceback."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run `paddock` with the arguments of this process, and exit."""
    asked = signal.getsignal(signal.SIGINT)
    if asked is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from paddock import console  # noqa: PLC0415 - loading these takes time, in which Ctrl-C may come
    from paddock.door import run  # noqa: PLC0415

    signal.signal(signal.SIGINT, asked)
    try:
        status = run(sys.argv[1:])
    except Exception:  # a fault of ours, whose traceback may hold the text of others
        console.defect()
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
