"""A bundle with its load.sh at a site that has no engine: only programs, keys, and a docker that pretends."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock.bundle.check import trust
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.stackfiles import OF_THE_BUNDLE
from programs import Finished
from repository import REPOSITORY
from samples import bundles
from site_programs import CHECKERS, path_with

TEMPLATE = REPOSITORY / "templates/bundle/load.sh"
SHELLS: Mapping[str, Sequence[str]] = {
    name: argv
    for name, argv in {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}.items()
    if shutil.which(name)
}
FILES: Mapping[str, bytes] = {
    "README.txt": b"How to load this bundle.\n",
    "docs/guides/airgap.md": b"# Across an air gap\n",
    "stack/compose.yaml": b"services: {}\n",
    "stack/.env.example": b"API_PORT=8080\nIMAGE_VERSION=2\n",
    "stack/images/upstream.yaml": b"services: {}\n",
}
# Has the images of $HELD, one JSON object a line, once something was loaded; says what it was asked to do.
DOCKER = """#!/bin/sh
echo "$*" >>"$ASKED"
case $1 in
    version) case $3 in *Version*) echo "${VERSION:-28.5.2}" ;; *) echo linux/amd64 ;; esac ;;
    load) cat >"$LOADED"; echo 'Loaded image' ;;
    image)
        [ "$2" = inspect ] && [ -e "$LOADED" ] || exit 1
        for reference in "$@"; do :; done
        line=$(grep -F "\\"$reference\\"" "$HELD") || exit 1
        case $* in
            *.Id*) echo "$line" | sed 's/.*"id":"\\([^"]*\\)".*/\\1/' ;;
            *Layers*) echo "$line" | sed 's/.*"layers":\\(\\[[^]]*\\]\\).*/\\1/' ;;
            *) echo linux/amd64 ;;
        esac
        ;;
esac
"""


@dataclass
class LoadSite:
    """A site in the folder `home`, and the medium in `folder` that came to it. Nothing is pinned at first."""

    home: Path
    key: signature.SecretKey = field(default_factory=signature.generate)
    shell: Sequence[str] = ("sh",)
    checkers: tuple[str, ...] = CHECKERS

    @property
    def folder(self) -> Path:
        return self.home / "bundle"

    @property
    def keys(self) -> KeyStore:
        return KeyStore(own=self.home / "state", host=self.home / "etc")

    @property
    def into(self) -> Path:
        """Where the stack goes."""
        return self.home / "site"

    @property
    def loaded(self) -> Path:
        """What `docker load` was given; not there before."""
        return self.home / "loaded"

    def write(self, *, signed: bool = True, files: Mapping[str, bytes] = FILES, **changes: Any) -> Manifest:
        """Write the bundle, with the script in it."""
        manifest = bundles.write(self.folder, files={**files, "load.sh": self._script()}, **changes)
        if signed:
            self.sign()
        held = [
            {"reference": image.reference, "id": image.config, "layers": image.layers}
            for image in manifest.images
        ]
        lines = [json.dumps(image, separators=(",", ":")) for image in held]
        (self.home / "held").write_text("".join(f"{line}\n" for line in lines))
        return manifest

    def sign(self, key: signature.SecretKey | None = None, sequence: int = 20) -> None:
        """Sign what lies there."""
        with OpenBundle.open([self.folder]) as bundle:
            trust.sign_bundle(bundle, key or self.key, sequence=sequence)

    def load(self, *arguments: str | Path, **environment: str) -> Finished:
        """Run load.sh; it has the programs of a site, and those in `checkers`."""
        path = self.prepare()
        shell = shutil.which(self.shell[0]) or "no shell"
        return subprocess.run(
            [shell, *self.shell[1:], self.folder / "load.sh", *arguments],
            cwd=self.home,
            env={
                "PATH": path,
                "HOME": str(self.home),
                "TMPDIR": str(self.home / "tmp"),
                "PADDOCK_STATE": str(self.keys.own),
                "ASKED": str(self.home / "asked"),
                "HELD": str(self.home / "held"),
                "LOADED": str(self.loaded),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def prepare(self) -> str:
        """Make docker, and a folder for temporary files; the PATH."""
        programs = self.home / "-".join(("bin", *self.checkers))
        if not programs.exists():
            path_with(programs, *self.checkers)
        docker = self.home / "docker/docker"
        docker.parent.mkdir(exist_ok=True)
        docker.write_text(DOCKER)
        docker.chmod(0o755)
        (self.home / "tmp").mkdir(exist_ok=True)
        return f"{docker.parent}:{programs}"

    def _script(self) -> bytes:
        """The script as the exporter fills it in, but for the folder of the host's keys."""
        values = {
            "@name@": "cpu",
            "@platform@": "linux/amd64",
            "@archive@": "images.tar",
            "@of_the_bundle@": "|".join(OF_THE_BUNDLE),
            "host=/etc/paddock": f"host={self.keys.host}",
        }
        text = TEMPLATE.read_text("utf-8")
        for mark, value in values.items():
            assert mark in text
            text = text.replace(mark, value)
        return text.encode()
