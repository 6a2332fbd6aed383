"""A folder in which every command of paddock finds what it needs, and ways to run them there."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline_api import Maker, PipelineApi
from samples import bundles

# What is run in a process of its own: each command of a list, in which the system refuses to touch a folder.
PROGRAM = """
import contextlib, io, json, os, sys, traceback
from paddock.door import run

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGING = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.chmod"}
LOOKING = {"os.listdir", "os.scandir"}
number, reading = 0, False

def refuse(event, arguments):
    if not number or not isinstance(arguments[0] if arguments else None, (str, bytes, os.PathLike)):
        return
    path = os.path.join(place, os.fsdecode(arguments[0]))
    writes = event in CHANGING or event == "open" and arguments[2] & WRITING
    reads = reading and (event in LOOKING or event == "open")
    if path.startswith(place) and (writes or reads):
        raise OSError(number, os.strerror(number), arguments[0])

place = os.getcwd()
sys.addaudithook(refuse)
done = []
for number_of_case, reading_of_case, arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        number, reading = number_of_case, reading_of_case
        try:
            status = run(arguments)
        except BaseException:
            number, status = 0, 1
            traceback.print_exc()
    number = 0
    done.append([status, err.getvalue()])
print(json.dumps(done))
"""

DOCKER = r"""
case "$*" in
    *" config"*) echo '{"name": "cpu", "services": {"api": {"image": "paddock/cpu-api:0.1.0"}}}' ;;
    *version*) echo 2.40.0 ;;
    *) echo broken >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder in which every command finds what it needs."""

    folder: Path
    environment: dict[str, str]

    def run(self, cases: Sequence[tuple[int, bool, Sequence[str]]]) -> list[tuple[int, str]]:
        """Exit status and stderr of commands while the system refuses with a number, reading too or not."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(cases)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return [(status, said) for status, said in json.loads(done.stdout)]

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the shell, in which paddock and a docker that only pretends are on PATH."""
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=600,
        )


@contextmanager
def made_place(folder: Path) -> Iterator[Place]:
    """Fill a folder: documents, a stack, a bundle, keys, a `docker` that only pretends."""
    make = Maker(folder)
    api = PipelineApi()
    make.image("scans/a.png")
    make.data("stack/compose.yaml", b"services: {}\n")
    make.data("stack/.env", b"API_PORT=8080\n")
    make.data(".env", b"")
    make.data("api-keys/keys", b"sha256:" + b"0" * 64 + b" first\n")
    make.data("tars/PP-DocLayoutV3_infer.tar", b"")
    make.data("models/models.lock.json", b'{"format": 1, "sets": {}}')
    make.data("state/installed.json", b"[]")
    (folder / "images").mkdir()
    (folder / "compose").mkdir()
    bundles.write(folder / "bundle")
    docker = make.data("bin/docker", b"#!/bin/sh\n" + DOCKER.encode())
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    run_module = "import runpy; runpy.run_module('paddock', run_name='__main__', alter_sys=True)"
    own = make.data("bin/paddock", f"#!{sys.executable}\n{run_module}\n".encode())
    own.chmod(own.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "PADDOCK_STATE": str(folder / "state"),
        "PADDOCK_URL": api.url,
        "PADDOCK_ROOT": str(folder),
        "DOCKER_HOST": f"unix://{folder}/none.sock",
        "MODELS_DIR": str(folder / "models"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    made = Place(folder=folder, environment=environment)
    assert made.run([(0, False, ["keygen", "key"])])[0][0] == 0
    try:
        yield made
    finally:
        api.stop()
