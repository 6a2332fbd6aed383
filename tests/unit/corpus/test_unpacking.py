"""What is taken out of an archive that strangers made."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from unpacking import name_for, spread, unpack


def archive(path: Path, members: Mapping[str, bytes | str]) -> Path:
    """An archive in which a string stands for a link that leads there."""
    with tarfile.open(path, "w:gz") as made:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            made.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def test_documents_and_pictures_are_taken_and_nothing_else(tmp_path: Path) -> None:
    made = archive(
        tmp_path / "a.tar.gz",
        {
            "p-1/tests/one.pdf": b"one",
            "p-1/tests/two.PDF": b"two",
            "p-1/images/Ein Bild.PNG": b"three",
            "p-1/setup.py": b"raise SystemExit",
            "p-1/empty.pdf": b"",
        },
    )
    assert unpack(made, tmp_path / "files") == 3
    assert {path.name.partition("-")[2] for path in (tmp_path / "files").iterdir()} == {
        "one.pdf",
        "two.PDF",
        "Ein_Bild.PNG",
    }


def test_nothing_leads_out_of_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pdf"
    secret.write_bytes(b"not ours")
    made = archive(
        tmp_path / "a.tar.gz",
        {"../../evil.pdf": b"evil", "/etc/evil.png": b"evil too", "link.pdf": str(secret)},
    )
    unpack(made, tmp_path / "files")
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert kept == sorted(
        [
            "a.tar.gz",
            "secret.pdf",
            f"files/{name_for('evil.pdf', b'evil')}",
            f"files/{name_for('evil.png', b'evil too')}",
        ]
    )


def test_large_files_are_passed_over(tmp_path: Path) -> None:
    made = archive(tmp_path / "a.tar", {"a.pdf": b"1234", "b.pdf": b"12345"})
    assert unpack(made, tmp_path / "files", largest=4) == 1


def test_a_package_with_very_many_files_gives_some_from_everywhere(tmp_path: Path) -> None:
    many = {f"{number}.{kind}": f"{number}{kind}".encode() for number in range(9) for kind in ("pdf", "png")}
    assert unpack(archive(tmp_path / "a.tar", many), tmp_path / "files", pdfs=2, pictures=3) == 5
    assert spread(range(9), 3) == [0, 3, 6]
    assert spread(range(2), 3) == [0, 1]


def test_names_differ_with_the_content() -> None:
    assert name_for("a/x.pdf", b"1") != name_for("b/x.pdf", b"2")
    assert name_for("a/\x1b[31m.pdf", b"1").endswith("-__31m.pdf")
