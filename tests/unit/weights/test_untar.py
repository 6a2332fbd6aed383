"""Archives that are unsafe or broken, and links inside one."""

from __future__ import annotations

import gzip
import io
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.errors import SourceError, WeightsError
from paddock.weights.untar import unpack
from recording import Recorder
from weight_sources import BadServer, Sets
from weights_directory import VLM, Fetch, contents, visible

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"") -> Member:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, len(content)
    return made, content


def tar_of(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for made, content in members:
            archive.addfile(made, io.BytesIO(content))
    return buffer.getvalue()


def usual(sets: type[Sets]) -> list[Member]:
    return [member(f"{VLM}_infer/{name}", content=content) for name, content in sets.vlm_files.items()]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([member("../evil", content=b"x")], "expected a path below"),
        ([member("/tmp/evil", content=b"x")], "expected a path below"),
        ([member("a/../../evil", content=b"x")], "expected a path below"),
        ([member(f"{VLM}_infer/evil", tarfile.SYMTYPE, "/etc/passwd")], "links inside"),
        ([member(f"{VLM}_infer/evil", tarfile.SYMTYPE, "../../outside")], "links inside"),
        ([member(f"{VLM}_infer/evil", tarfile.LNKTYPE, "../outside")], "links inside"),
        ([member(f"{VLM}_infer/evil", tarfile.SYMTYPE, "nothing")], "to name a file in the archive"),
        ([member("evil", tarfile.SYMTYPE, "evil")], "to name a file in the archive"),
        ([member("d", tarfile.SYMTYPE, f"{VLM}_infer"), member("d/evil", content=b"x")], "to name a file"),
        ([member("evil", tarfile.CHRTYPE)], "special file"),
        ([member("evil", tarfile.BLKTYPE)], "special file"),
        ([member("evil", tarfile.FIFOTYPE)], "special file"),
        ([member(f"{VLM}_infer/config.json", content=b"again")], "twice"),
        ([member(f"./{VLM}_infer//config.json", content=b"again")], "twice"),
        ([member(f"{VLM}_infer/config.json/evil", content=b"x")], "as a file and as a directory"),
        (
            [member(f"evil{n}", tarfile.LNKTYPE, f"{VLM}_infer/model.safetensors") for n in range(9)],
            "twice the archive",
        ),
    ],
)
def test_an_unsafe_tar_writes_nothing(
    fetch: Fetch,
    server: BadServer,
    sets: type[Sets],
    models_dir: Path,
    tmp_path: Path,
    bad: list[Member],
    words: str,
) -> None:
    server.serve_bos(VLM, tar_of(*usual(sets), *bad))
    with pytest.raises(WeightsError, match=words):
        fetch()
    assert visible(models_dir) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["models"]
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_a_header_is_not_read_whole_before_its_size_is_looked_at(
    tmp_path: Path, report: Recorder, kind: bytes
) -> None:
    """400 MB of attributes in front of a file; sparse, so that only a reader pays for them."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 400 * 1024**2
    archive = tmp_path / "a.tar"
    with archive.open("wb") as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        out.truncate(header.size + 10240)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="a header of 419,430,400 bytes, more than 65,536"):
        unpack(archive, tmp_path / "to", report=report)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_headers_of_headers_are_refused(tmp_path: Path, report: Recorder) -> None:
    header = tarfile.TarInfo("long")
    header.type = tarfile.XHDTYPE
    archive = tmp_path / "a.tar"
    archive.write_bytes(header.tobuf(tarfile.GNU_FORMAT) * 5000 + bytes(10240))
    with pytest.raises(WeightsError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "to", report=report)


def test_an_archive_of_endless_names_is_refused(tmp_path: Path, report: Recorder) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(*(member(f"{number}") for number in range(10_001))))
    with pytest.raises(WeightsError, match="more than 10,000 files"):
        unpack(tmp_path / "a.tar", tmp_path / "to", report=report)


def test_links_inside_the_tree_become_files(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    links = [
        member(f"{VLM}_infer/sub/model.bin", tarfile.SYMTYPE, "../link.bin"),
        member(f"{VLM}_infer/link.bin", tarfile.LNKTYPE, f"{VLM}_infer/config.json"),
    ]
    server.serve_bos(VLM, tar_of(*usual(sets), *links))
    fetch()
    assert (models_dir / VLM / "sub/model.bin").read_bytes() == sets.vlm_files["config.json"]
    assert not any(path.is_symlink() for path in (models_dir / VLM).rglob("*"))


def _cut_before_the_last_file(archive: bytes) -> bytes:
    return archive[: archive.rindex(b"sub/chat_template") // 512 * 512]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda archive: archive[: len(archive) // 2],
        _cut_before_the_last_file,
        lambda archive: archive[:512] + archive[512:].replace(b"ustar", b"xxxxx"),
        lambda archive: b"",
        lambda archive: b"<html>no such file</html>",
        gzip.compress,
    ],
    ids=["cut in a file", "cut between files", "damaged header", "empty", "a page", "compressed"],
)
def test_a_broken_tar_is_refused_and_fetched_anew(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path, spoil: Callable[[bytes], bytes]
) -> None:
    whole = sets.tar(sets.vlm_files, "")
    path = server.serve_bos(VLM, spoil(whole))
    with pytest.raises(WeightsError) as failure:
        fetch()
    assert not isinstance(failure.value, SourceError)
    assert visible(models_dir) == []
    server.serve(path, whole)
    fetch()
    assert contents(models_dir / VLM) == sets.vlm_files


def test_a_tar_without_what_a_set_needs_is_refused(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_bos(VLM, sets.tar({"config.json": b"{}"}, f"{VLM}_infer/"))
    with pytest.raises(
        WeightsError, match=r"found no \*\.safetensors, no tokenizer\.json or tokenizer\.model"
    ):
        fetch()
    assert visible(models_dir) == []
