"""The start of the process: an interrupt is answered before the door is loaded, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("before", "status"), [("", -signal.SIGINT), ("signal.signal(signal.SIGINT, signal.SIG_IGN)", 0)]
)
def test_an_interrupt_before_anything_is_loaded(tmp_path: Path, before: str, status: int) -> None:
    """Here it comes while click is imported. Who starts it with interrupts ignored, as nohup does, wants no
    end.
    """
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(0)\n"
    )
    program = f"import runpy, signal\n{before}\nrunpy.run_module('paddock', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (status, "")
