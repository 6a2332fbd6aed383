"""Office documents: told by their content, and made a PDF by LibreOffice, for which a program stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import UsageError
from paddock.parse.office import kind, to_pdf
from paddock.parse.questions import MADE
from pipeline_api import Maker
from samples.officefiles import COMPOUND, DOCUMENTS, OLD_DOCUMENTS, compound, stand_in, zipped


@pytest.fixture
def libreoffice(make: Maker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LibreOffice on PATH; return the PDF of two pages that it makes of everything."""
    made = make.pdf("two.pdf", pages=2)
    programs = make.folder / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(stand_in(programs)), prepend=":")
    monkeypatch.setenv("PADDOCK_TEST_PDF", str(made))
    return made


@pytest.mark.parametrize(("what", "data"), [*DOCUMENTS.items(), *OLD_DOCUMENTS.items()])
def test_a_document_is_told_by_its_content(make: Maker, what: str, data: bytes) -> None:
    assert kind(make.data("a.bin", data)).what == what


@pytest.mark.parametrize(
    "data",
    [
        zipped(readme_txt="word/document.xml"),
        zipped(mimetype="application/epub+zip"),
        zipped(word__document_xml="")[:40],
        COMPOUND,
    ],
    ids=["a ZIP archive", "an e-book", "a cut one", "an empty compound file"],
)
def test_other_archives_are_none(make: Maker, data: bytes) -> None:
    assert kind(make.data("a.docx", data)).what == ""


def test_one_with_a_password_is_refused(make: Maker) -> None:
    with pytest.raises(UsageError, match="the office document needs a password"):
        kind(make.data("a.docx", compound("EncryptedPackage")))


@pytest.mark.parametrize(("what", "data"), DOCUMENTS.items())
def test_libreoffice_makes_a_pdf(
    make: Maker, libreoffice: Path, tmp_path: Path, what: str, data: bytes
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert to_pdf(make.data(f"-a 'b' {what}", data), folder).pages == 2
    assert (folder / MADE).read_bytes() == libreoffice.read_bytes()
    assert "--headless" in Path(f"{libreoffice}.arguments").read_text().splitlines()
    settings = Path(f"{libreoffice}.settings").read_text()
    for name in ("DisableMacrosExecution", "BlockUntrustedRefererLinks"):
        assert f'oor:name="{name}" oor:op="fuse"><value>true<' in settings


def test_a_document_of_which_it_makes_nothing(make: Maker, libreoffice: Path, tmp_path: Path) -> None:
    libreoffice.write_bytes(b"")
    with pytest.raises(UsageError, match="LibreOffice makes no PDF of this RTF document") as caught:
        to_pdf(make.data("a.rtf", b"{\\rtf1}"), tmp_path)
    assert "export it to a PDF" in caught.value.hint


def test_without_libreoffice_it_is_the_next_step(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = make.data("my report.docx", DOCUMENTS["Word document"])
    with pytest.raises(
        UsageError, match=r"found a file for LibreOffice \(Word document\), .* no `soffice` on PATH"
    ) as caught:
        to_pdf(path, tmp_path)
    assert f"`soffice --headless --convert-to pdf '{path}'`" in caught.value.hint
