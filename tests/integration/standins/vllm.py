#!/usr/bin/env python3
"""The command `vllm` of a stand-in."""

import os
import sys

from standin_server import serve


def main() -> None:
    """`vllm --version`, or a server."""
    if sys.argv[1:] == ["--version"]:
        print("stand-in")
    else:
        serve(os.environ["VLLM_API_KEY"])


if __name__ == "__main__":
    main()
