"""The software of a layer is the same whether all of it goes past or only what matters is read."""

from __future__ import annotations

import io
import tarfile

import pytest

from layer_files import MemoryLayer, noise
from paddock.bundle.layers.softwarelist import LARGEST_FILE, Software, SoftwareReader

DPKG = b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n"
FOLDER = "opt/venv/lib/python3.11/site-packages"
MEMBERS = {
    "var/lib/dpkg/status": DPKG,
    "usr/lib/large.so": noise(3 << 20, 1),
    f"{FOLDER}/one-1.2.dist-info/METADATA": b"Name: one\nVersion: 1.2\nLicense-Expression: MIT\n",
    f"{FOLDER}/one-1.2.dist-info/licenses/LICENSE": b"MIT! " * 3000,
    f"{FOLDER}/one/" + "deep/" * 40 + "module.py": noise(70_001, 2),
    "usr/share/doc/libc6/copyright": b"GPL!",
    "usr/share/.wh.gone": b"",
    "usr/share/doc/other/copyright": bytes(LARGEST_FILE + 1),  # too large to be read
}


class CountedLayer(MemoryLayer):
    """Counts the bytes that are read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.read += length
        return super().read_at(offset, length)


def tar(format: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=format) as archive:
        for name, body in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return written.getvalue()


def fed(layer: CountedLayer) -> Software:
    reader = SoftwareReader()
    for piece in layer.stream():
        reader.feed(piece)
    return reader.software()


def skimmed(layer: CountedLayer) -> Software:
    reader = SoftwareReader()
    reader.skim(layer)
    return reader.software()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_skimming_finds_the_same_and_reads_little(format: int) -> None:
    layer = CountedLayer(tar(format))
    found = skimmed(layer)
    assert layer.read < 60_000
    assert found == fed(layer)
    assert [listed.packages[0].name for listed in found.lists] == ["one", "libc6"]
    assert [licence.text[:4] for licence in found.licences] == ["MIT!", "GPL!"]
    assert found.hidden == ("usr/share/gone",)


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 700, 3 << 20, -1, -600])
def test_what_is_cut_short_or_no_tar_any_more_is_skimmed_as_it_is_fed(cut: int) -> None:
    data = tar(tarfile.PAX_FORMAT)
    for spoiled in (data[:cut], data[:cut] + b"garbage " * 4096 + data):
        layer = CountedLayer(spoiled)
        assert skimmed(layer) == fed(layer)
