"""Starts SGLang as `python -m sglang.launch_server` does, with the API key from its file.

SGLang takes a key as an argument only, which every process list shows, and writes all its arguments to the log.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sglang.launch_server import run_server
from sglang.srt.server_args import prepare_server_args
from sglang.srt.utils import kill_process_tree


class Secret(str):
    """A text that the log shows as stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


if __name__ == "__main__":
    arguments = prepare_server_args(sys.argv[1:])
    arguments.api_key = Secret(Path(os.environ["PADDOCK_KEY_FILE"]).read_text(encoding="ascii").strip())
    try:
        run_server(arguments)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
