"""Layers whose tars lead out of the image, by name or by link: nothing of them reaches the host's files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from samples import bundles
from site_host import Site

MARK = "paddock-test-came-out"


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o777
    info.size = len(MARK) if kind == tarfile.REGTYPE else 0
    return info.tobuf(tarfile.GNU_FORMAT) + (MARK.encode().ljust(512, b"\0") if info.size else b"")


def layer(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


LAYERS = {
    "a name that leads up": layer(member("../../../../../../../../../../../../tmp/" + MARK)),
    "an absolute name": layer(member("/tmp/" + MARK)),
    "through a link": layer(member("out", kind=tarfile.SYMTYPE, link="/tmp"), member("out/" + MARK)),
    "through a link that leads up": layer(
        member("out", kind=tarfile.SYMTYPE, link="../../../../../../../../../../../tmp"),
        member("out/" + MARK),
    ),
    "a hard link to the host's": layer(member(MARK, kind=tarfile.LNKTYPE, link="/etc/hostname")),
}


@pytest.mark.fault("hostile layers")
@pytest.mark.parametrize("case", LAYERS)
def test_nothing_comes_out_of_a_layer(host: Site, tmp_path: Path, case: str) -> None:
    bundles.write(tmp_path / "bundle", images={"a:1": [LAYERS[case]]}, files={})
    done = host.paddock("import", tmp_path / "bundle")
    assert done.returncode in (0, 7), done.stderr
    assert not (Path("/tmp") / MARK).exists()
    extracted = [path.as_posix() for path in host.engine.folder.rglob(MARK)]
    outside = [path for path in extracted if "/diff/" not in path and "/fs/" not in path]
    assert not outside, "outside the layer's own folder"
    if done.returncode:
        assert host.names() == set()
        assert "\nhint: " in done.stderr
