"""The list of packages, and what apt says of them."""

from __future__ import annotations

from pathlib import Path

import packages
from packages import Archive, Package, archives_of

SHOWN = f"""\
Package: qpdf
Version: 12.2.0-1
Checksums-Sha256:
 {"c" * 64} 2405 qpdf_12.2.0-1.dsc
 {"b" * 64} 19537905 qpdf_12.2.0.orig.tar.gz
 {"5" * 64} 833 qpdf_12.2.0.orig.tar.gz.asc
 {"f" * 64} 15320 qpdf_12.2.0-1.debian.tar.xz
Directory: pool/main/q/qpdf

Package: okular
Version: 4:25.04.2-1+deb13u1
Checksums-Sha256:
 {"0" * 64} 8191024 okular_25.04.2.orig.tar.xz
Directory: pool/main/o/okular
"""


def test_apt_tells_upstreams_archives() -> None:
    """Not Debian's own part, so a new revision of a package changes nothing here."""
    assert list(archives_of(SHOWN, "http://mirror/debian/")) == [
        Archive(
            registry="Debian",
            package=Package(name="qpdf", version="12.2.0", sha256="b" * 64),
            address="http://mirror/debian/pool/main/q/qpdf/qpdf_12.2.0.orig.tar.gz",
        ),
        Archive(
            registry="Debian",
            package=Package(name="okular", version="25.04.2", sha256="0" * 64),
            address="http://mirror/debian/pool/main/o/okular/okular_25.04.2.orig.tar.xz",
        ),
    ]


def test_the_committed_list_is_what_would_be_written(tmp_path: Path) -> None:
    """Whatever the registry, and with versions that YAML would read as numbers."""
    pinned = packages.read()
    archives = [
        Archive(registry=registry, package=package, address="") for registry, package in pinned.each()
    ]
    assert packages.text_of(archives) == packages.FILE.read_text("utf-8")
    assert len({archive.folder for archive in archives}) == len(archives)
    copy = tmp_path / "packages.yaml"
    number = Package(name="x", version="1.10", sha256="1" * 64)
    archives.append(Archive(registry="Debian", package=number, address=""))
    copy.write_text(packages.text_of(archives), "utf-8")
    assert packages.read(copy).debian[-1] == number
