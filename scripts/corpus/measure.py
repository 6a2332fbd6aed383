#!/usr/bin/env python3
"""Sends the corpus through paddock's readers and compares what comes out with PDFium and Pillow.

usage: measure.py [--jobs N] [--pages N] [--every N] [PATTERN ...]
  --jobs N   files at a time (default: 2)
  --pages N  pages of a file that are drawn and compared; all are counted (default: 3)
  --every N  every N-th file only (default: 1)
  PATTERN    only files whose PACKAGE/NAME fits one, such as 'debian-qpdf/*'

What is known of a file is not measured again until the code changes. After a run of the whole corpus its
result is in docs/reference/corpus.json, for scripts/maintain/write-tables.py.
"""

import sys

if __name__ == "__main__":
    from measuring import main  # its processes load this file again, and need nothing of that
    from paddock.errors import PaddockError

    try:
        sys.exit(main())
    except PaddockError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from here\n")
        sys.exit(130)
