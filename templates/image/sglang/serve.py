"""Starts SGLang as `python -m sglang.launch_server` does, with the API key from its file and no unknown code.

SGLang takes a key as an argument only, which every process list shows, and writes all its arguments to the log.
With `trust-remote-code` it runs Python that comes with the weights: only files whose hashes are in PADDOCK_MODEL_CODE.
"""

from __future__ import annotations

import hashlib
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


def refuse_unknown_code(weights: Path, known: frozenset[str]) -> None:
    """End the start where the weights bring Python of which nobody has written down the hash."""
    found = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(weights.rglob("*.py"))}
    unknown = [f"  {digest}  {path}" for path, digest in found.items() if digest not in known]
    if unknown:
        sys.exit(
            "error: the weights bring Python that is not known here, and this server would run it:\n"
            + "\n".join(unknown)
            + "\nhint: read it; then add its SHA-256 to PADDOCK_MODEL_CODE of the service vlm, in compose.override.yaml"
        )


if __name__ == "__main__":
    arguments = prepare_server_args(sys.argv[1:])
    if arguments.trust_remote_code:
        refuse_unknown_code(Path(arguments.model_path), frozenset(os.environ["PADDOCK_MODEL_CODE"].split()))
    arguments.api_key = Secret(Path(os.environ["PADDOCK_KEY_FILE"]).read_text(encoding="ascii").strip())
    try:
        run_server(arguments)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
