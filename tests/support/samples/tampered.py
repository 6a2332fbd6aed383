"""Archives of hostile bundles: every hash is right, and they are not what the manifest says."""

from __future__ import annotations

import tarfile
from collections.abc import Callable

from paddock.bundle.format import archive


def _member(name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = len(content), 0o644, kind, link
    return info.tobuf(tarfile.GNU_FORMAT) + content + archive.padding(len(content))


def _added(data: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole[: -len(archive.END)] + data + archive.END


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    assert len(old) == len(new)

    def change(whole: bytes) -> bytes:
        assert old in whole
        return whole.replace(old, new)

    return change


def _negative_size(whole: bytes) -> bytes:
    info = tarfile.TarInfo.frombuf(whole[:512], "utf-8", "strict")
    info.size = -512
    return info.tobuf(tarfile.GNU_FORMAT) + whole[512:]


def _dirty_padding(whole: bytes) -> bytes:
    size = tarfile.TarInfo.frombuf(whole[:512], "utf-8", "strict").size
    assert size % 512
    return whole[: 512 + size] + b"x" + whole[513 + size :]


# what makes the archive another one, and what is said of it
TAMPERED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a name that leads out": (_added(_member("../../etc/cron.d/x", b"x")), "does not name"),
    "an absolute name": (_added(_member("/etc/passwd", b"x")), "does not name"),
    "a second manifest.json": (_added(_member("manifest.json", b"[]")), "does not name"),
    "another file": (_added(_member("repositories", b"{}")), "does not name"),
    "a link": (
        _added(_member("blobs/sha256/x", kind=tarfile.SYMTYPE, link="/etc/passwd")),
        "header of a plain file",
    ),
    "a hard link": (
        _added(_member("x", kind=tarfile.LNKTYPE, link="manifest.json")),
        "header of a plain file",
    ),
    "a device": (_added(_member("x", kind=tarfile.CHRTYPE)), "header of a plain file"),
    "a pax header": (_added(_member("x", b"11 path=ab\n", kind=tarfile.XHDTYPE)), "header of a plain file"),
    "a long name": (
        _added(_member("x", b"y" * 200, kind=tarfile.GNUTYPE_LONGNAME)),
        "header of a plain file",
    ),
    "a damaged header": (lambda whole: b"x" + whole[1:], "header of a plain file"),
    "a negative size": (_negative_size, "header of a plain file"),
    "no end": (lambda whole: whole[: -len(archive.END)], "no end mark"),
    "half an end": (lambda whole: whole[:-512], "an archive's end"),
    "something behind the end": (lambda whole: whole + b"hidden".ljust(512, b"\0"), "an archive's end"),
    "much behind the end": (lambda whole: whole + bytes(1 << 20), "an archive's end"),
    "bytes between files": (_dirty_padding, "does not end in zeros"),
    "another tag": (
        _replaced(b'"RepoTags":["paddock/cpu-api', b'"RepoTags":["paddock/cpu-xxx'),
        "does not say",
    ),
    "another name for containerd": (
        _replaced(b"docker.io/paddock", b"docker.io/hostile"),
        "index.json does not say",
    ),
    "another blob": (lambda whole: whole[:700] + bytes([whole[700] ^ 1]) + whole[701:], "has the SHA-256"),
}
