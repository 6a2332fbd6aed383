#!/usr/bin/env python3
"""Write every table of the documents that stands between `<!-- table: NAME -->` and `<!-- end -->`.

usage: write-tables.py [--check]

They come from the registry, the code, the tests and descriptions.yaml. With --check nothing is written; the
documents that are out of date are named, and the exit status is 4, like that of `paddock render --check`.
"""

from __future__ import annotations

import argparse
import sys

from paddock.errors import OutOfDateError, PaddockError
from tables import REPOSITORY, out_of_date


def main() -> None:
    """Write the tables, or name the documents whose tables are out of date."""
    parser = argparse.ArgumentParser(description="Write the tables of the documents.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 4 when one is out of date"
    )
    check = parser.parse_args().check
    stale = out_of_date()
    for path, text in stale.items():
        sys.stdout.write(f"{path.relative_to(REPOSITORY)}\n")
        if not check:
            path.write_text(text, "utf-8")
    if check and stale:
        raise OutOfDateError(
            f"tables: found {len(stale)} documents out of date, expected none",
            hint="run scripts/maintain/write-tables.py",
        )


if __name__ == "__main__":
    try:
        main()
    except PaddockError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        sys.exit(error.exit_code)
