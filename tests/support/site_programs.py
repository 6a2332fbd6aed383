"""A site without the tool: programs that it needs beside Docker Engine, and what the guide says to type."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from repository import REPOSITORY

# For load.sh and the script `paddock`. Checking a signature needs one of CHECKERS as well.
PROGRAMS = (
    *("base64", "basename", "cat", "chmod", "cp", "date", "dirname", "env", "grep", "head", "id", "ln"),
    *("mkdir", "mktemp", "mv", "rm", "sed", "sh", "sha256sum", "sort", "tail", "tr"),
)
CHECKERS = ("minisign", "openssl")


def path_with(folder: Path, *more: str) -> Path:
    """A new folder for PATH that holds PROGRAMS and `more`."""
    folder.mkdir(parents=True)
    for program in (*PROGRAMS, *more):
        (folder / program).symlink_to(shutil.which(program) or f"no {program} on this machine")
    return folder


def lines_of_the_guide(checker: str) -> tuple[str, str]:
    """The blocks of the guide that check a first bundle: its signature, with this program, and its files."""
    guide = (REPOSITORY / "docs/guides/airgap.md").read_text("utf-8")
    _, _, section = guide.partition("\n## The first bundle\n")
    blocks = re.findall(r"^```sh\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    signature, files = ([lines for lines in blocks if word in lines] for word in (f"{checker} ", "sha256sum"))
    return signature[0], files[0]
