"""A site that verifies a bundle on a medium, and the key of the workshop that signed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from paddock.bundle.format import signature
from paddock.door import run

KEY = signature.generate()


@dataclass
class Site:
    """A host in the folder `home` that trusts `KEY`, and a medium in `folder` that has come to it."""

    home: Path
    folder: Path
    capture: pytest.CaptureFixture[str]
    arguments: list[str] = field(default_factory=list)

    def verify(self, *more: str) -> tuple[int, str, str]:
        """Run `paddock verify`: its exit status, and what it wrote to stdout and stderr."""
        status = run(["verify", *(self.arguments or [str(self.folder)]), *more])
        printed = self.capture.readouterr()
        return status, printed.out, printed.err
