"""Where a build comes from: the git commit, and the time that its layers carry."""

from __future__ import annotations

import os
import time
from pathlib import Path

from paddock import process
from paddock.errors import ProgramError


def git_revision(workspace: Path) -> str:
    """The git commit of the workspace, with `-dirty` where files differ from it; `unknown` outside git."""
    commit = _git(workspace, "rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}-dirty" if _git(workspace, "status", "--porcelain", "--untracked-files=no") else commit


def source_date_epoch(workspace: Path) -> int:
    """SOURCE_DATE_EPOCH, else the time of the last commit, else now, in seconds.

    https://reproducible-builds.org/specs/source-date-epoch
    """
    given = os.environ.get("SOURCE_DATE_EPOCH") or _git(workspace, "log", "-1", "--format=%ct")
    return int(given) if given.isdigit() else int(time.time())


def _git(workspace: Path, *arguments: str) -> str:
    try:
        done = process.capture(["git", "-C", str(workspace), *arguments], check=False)
    except ProgramError:
        return ""
    return done.stdout.strip() if done.status == 0 else ""
