"""The walker of layer tars: every byte is in one piece, and members are where tarfile finds them."""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.bundle.layers.tarwalk import BLOCK, LARGEST_EXTENSION, Kind, Piece, TarWalker, walk

LONG = "a/" + "long-name-" * 30


def tar(*members: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=format) as archive:
        for name, body in members:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return written.getvalue()


def fed(data: bytes, at_once: int) -> Iterator[bytes]:
    return (data[at : at + at_once] for at in range(0, len(data), at_once))


def bodies(data: bytes) -> dict[str, bytes]:
    return {piece.path: data[piece.offset : piece.end] for piece in walk([data]) if piece.kind is Kind.BODY}


def assert_whole(data: bytes, pieces: list[Piece]) -> None:
    """No gap, no overlap, nothing empty, from the first to the last byte."""
    borders = [0, *(piece.end for piece in pieces)]
    assert [piece.offset for piece in pieces] == borders[:-1]
    assert borders[-1] == len(data)
    assert all(piece.size > 0 for piece in pieces)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("at_once", [1, 7, 512, 1000, 1 << 20])
def test_members_of_both_formats(format: int, at_once: int) -> None:
    members = {"a": b"", "b": b"x", "c": bytes(512), LONG: b"y" * 1025, "é/ü": b"z" * 511}
    data = tar(*members.items(), format=format)
    pieces = list(walk(fed(data, at_once)))
    assert_whole(data, pieces)
    assert [piece.path for piece in pieces if piece.kind is Kind.HEADER] == list(members)
    assert bodies(data) == {name: body for name, body in members.items() if body}
    assert [piece.kind for piece in pieces if not piece.path] == [Kind.PADDING] * sum(
        not piece.path for piece in pieces
    )


def test_a_header_reaches_from_its_first_extension_to_the_body() -> None:
    data = tar((LONG, b"body"), format=tarfile.GNU_FORMAT)
    header, body, padding, end = walk([data])
    assert (header.kind, header.offset, header.size) == (Kind.HEADER, 0, 512 + 512 + 512)
    assert (body.kind, body.size, padding.size) == (Kind.BODY, 4, 508)
    assert end.size == len(data) - end.offset


def test_a_body_is_told_before_its_bytes_come() -> None:
    told = TarWalker().feed(tar(("big", bytes(100_000)))[:BLOCK])
    assert [(piece.kind, piece.offset, piece.size) for piece in told[:2]] == [
        (Kind.HEADER, 0, 512),
        (Kind.BODY, 512, 100_000),
    ]


def test_links_and_folders_have_no_body_whatever_their_size_says() -> None:
    data = b""
    for number, kind in enumerate([tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]):
        member = tarfile.TarInfo(f"m{number}")
        member.type, member.size = kind, 4096
        data += member.tobuf()
    pieces = list(walk([data]))
    assert_whole(data, pieces)
    assert [piece.path for piece in pieces if piece.kind is Kind.HEADER] == ["m0", "m1", "m2/", "m3"]
    assert not [piece for piece in pieces if piece.kind in {Kind.BODY, Kind.OPAQUE}]


def test_the_size_of_pax_records_counts() -> None:
    member = tarfile.TarInfo("big")
    member.size, member.pax_headers = 0, {"size": "700"}
    data = member.tobuf(tarfile.PAX_FORMAT) + b"q" * 700 + bytes(324) + bytes(1024)
    assert bodies(data) == {"big": b"q" * 700}


@pytest.mark.parametrize(
    "options", [["--format=gnu"], ["--format=pax"], ["--format=pax", "--sparse-version=0.1"]]
)
def test_sparse_files_of_gnu_tar(tmp_path: Path, options: list[str]) -> None:
    if shutil.which("tar") is None:
        pytest.skip("no tar")
    with (tmp_path / "holes").open("wb") as file:
        for at in range(
            40
        ):  # more than the four runs that one header holds, more than the 21 of a second block
            file.seek(at << 16)
            file.write(b"data" * 1024)
    (tmp_path / "next").write_bytes(b"behind it")
    argv = ["tar", "-C", str(tmp_path), *options, "--sparse", "-cf", "-", "holes", "next"]
    data = subprocess.run(argv, check=True, capture_output=True).stdout
    pieces = list(walk(fed(data, 4096)))
    assert_whole(data, pieces)
    assert [piece.path for piece in pieces if piece.kind is Kind.HEADER] == ["holes", "next"]
    body = next(piece for piece in pieces if piece.kind is Kind.BODY)
    assert 40 * 4096 <= body.size < 40 * 4096 + 4096
    assert bodies(data)["next"] == b"behind it"


def test_garbage_is_opaque_from_where_it_starts() -> None:
    good = tar(("a", b"x" * 512))[:1024]
    data = good + b"garbage " * 1000
    pieces = list(walk(fed(data, 1000)))
    assert_whole(data, pieces)
    assert {piece.kind for piece in pieces if piece.offset >= 1024} == {Kind.OPAQUE}
    assert {piece.kind for piece in pieces if piece.offset < 1024} == {Kind.HEADER, Kind.BODY}


def test_extensions_too_long_to_be_read_are_opaque() -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, LARGEST_EXTENSION + 1
    data = member.tobuf() + bytes(LARGEST_EXTENSION + 512)
    pieces = list(walk([data]))
    assert_whole(data, pieces)
    assert {piece.kind for piece in pieces} == {Kind.OPAQUE}


def test_a_tar_cut_short_anywhere_is_still_covered() -> None:
    data = tar(("a", b"x" * 600), (LONG, b"y" * 10), format=tarfile.GNU_FORMAT)
    for length in itertools.chain(range(0, 700, 50), range(1500, 4000, 97)):
        assert_whole(data[:length], list(walk(fed(data[:length], 333))))


_NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(
    members=st.lists(st.tuples(_NAMES, st.binary(max_size=2000)), max_size=8),
    format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    at_once=st.integers(1, 5000),
)
def test_any_tar_is_read_as_tarfile_reads_it(
    members: list[tuple[str, bytes]],
    format: int,
    at_once: int,
) -> None:
    data = tar(*members, format=format)
    pieces = list(walk(fed(data, at_once)))
    assert_whole(data, pieces)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(member.offset_data, member.size) for member in archive if member.size]
    assert [(piece.offset, piece.size) for piece in pieces if piece.kind is Kind.BODY] == expected


@given(
    data=st.binary(max_size=3000),
    at_once=st.integers(1, 3000),
    flip=st.integers(0, 5000),
    to=st.integers(0, 255),
)
def test_any_bytes_are_covered(data: bytes, at_once: int, flip: int, to: int) -> None:
    damaged = bytearray(tar(("a", data), (LONG, data), format=tarfile.GNU_FORMAT))
    damaged[flip % len(damaged)] = to
    for stream in (data, bytes(damaged)):
        assert_whole(stream, list(walk(fed(stream, at_once))))
