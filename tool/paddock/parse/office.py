"""Office documents in the judge: which one an archive is, and a PDF of it by LibreOffice.

Runs in the judge only (`parse.judge`): LibreOffice has its limits, and ends with it.
"""

from __future__ import annotations

import mmap
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import UsageError, quoted
from paddock.parse import pdfs
from paddock.parse.questions import MADE, Verdict
from paddock.process import capture

_PROGRAMS = ("soffice", "libreoffice")
_LONGEST_TYPE = 200  # bytes of an OpenDocument's `mimetype`

# Its settings (org.openoffice.Office.Common): no macro runs, and nothing that a document links to is fetched.
_SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">{items}</oor:items>
"""
_SETTING = (
    '<item oor:path="/org.openoffice.Office.Common/Security/Scripting">'
    '<prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
)
_SAFE = {
    "DisableMacrosExecution": "true",
    "MacroSecurityLevel": "3",
    "DisableActiveContent": "true",
    "BlockUntrustedRefererLinks": "true",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """A kind of office document: its name for people, and the suffix by which LibreOffice knows it."""

    name: str
    suffix: str


_RTF = _Kind(name="RTF document", suffix="rtf")
# By the part that makes an Office Open XML file what it is (ECMA-376), without its suffix: .xml or .bin.
_OPEN_XML = {
    "word/document": _Kind(name="Word document", suffix="docx"),
    "xl/workbook": _Kind(name="Excel workbook", suffix="xlsx"),
    "ppt/presentation": _Kind(name="PowerPoint presentation", suffix="pptx"),
}
_OPEN_DOCUMENT = {
    "application/vnd.oasis.opendocument.text": _Kind(name="OpenDocument text", suffix="odt"),
    "application/vnd.oasis.opendocument.spreadsheet": _Kind(name="OpenDocument spreadsheet", suffix="ods"),
    "application/vnd.oasis.opendocument.presentation": _Kind(name="OpenDocument presentation", suffix="odp"),
}
# By a stream of a compound file (MS-DOC, MS-XLS, MS-PPT); the directory has names in UTF-16.
_STREAMS = {
    "WordDocument": _Kind(name="Word document", suffix="doc"),
    "Workbook": _Kind(name="Excel workbook", suffix="xls"),
    "PowerPoint Document": _Kind(name="PowerPoint presentation", suffix="ppt"),
}
_ENCRYPTED = "EncryptedPackage"  # what an Office Open XML file with a password lies in (MS-OFFCRYPTO)


def kind(path: Path) -> Verdict:
    """Say which office document a file is; an archive of something else is none.

    Raises UsageError for one with a password.
    """
    found = _kind_of(path)
    return Verdict(what=found.name if found else "")


def to_pdf(path: Path, folder: Path) -> Verdict:
    """Have LibreOffice make a PDF of an office document in `folder`, from a copy and with settings for that.

    Raises UsageError where there is no LibreOffice, or where it makes none.
    """
    found = _kind_of(path)
    if found is None:
        raise UsageError("changed while it was read")
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        convert = f"soffice --headless --convert-to pdf {quoted(path)}"
        raise UsageError(
            f"found a file for LibreOffice ({found.name}), and there is no `soffice` on PATH",
            hint=f"install it (Debian: `apt-get install libreoffice-nogui`), or run `{convert}` where it is "
            "and parse that PDF",
        )
    copy, profile = folder / f"{MADE}.{found.suffix}", folder / "profile"
    shutil.copyfile(path, copy)
    (profile / "user").mkdir(parents=True)
    items = "".join(_SETTING.format(name=name, value=value) for name, value in _SAFE.items())
    (profile / "user/registrymodifications.xcu").write_text(_SETTINGS.format(items=items), "utf-8")
    options = ["--headless", "--norestore", "--nologo", "--convert-to", "pdf", "--outdir", str(folder)]
    capture([program, f"-env:UserInstallation={profile.as_uri()}", *options, str(copy)], check=False)
    made = folder / f"{MADE}.pdf"
    if not made.is_file():
        raise UsageError(
            f"LibreOffice makes no PDF of this {found.name}",
            hint="it may be damaged or need a password: open it in an office program, export it to a PDF and "
            "parse that",
        )
    opened = pdfs.opened(made)
    made.rename(folder / MADE)
    return Verdict(pages=opened.pages, notes=opened.notes)


def _kind_of(path: Path) -> _Kind | None:
    with path.open("rb") as file:
        if file.read(5) == b"{\\rtf":
            return _RTF
    return _in_zip(path) if zipfile.is_zipfile(path) else _in_compound_file(path)


def _in_zip(path: Path) -> _Kind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "mimetype" in names:
                with archive.open("mimetype") as written:
                    found = written.read(_LONGEST_TYPE).decode("ascii", "replace").strip()
                return _OPEN_DOCUMENT.get(found.removesuffix("-template"))
            parts = {name.rpartition(".")[0] for name in names}
            return next((found for part, found in _OPEN_XML.items() if part in parts), None)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError):
        return None


def _in_compound_file(path: Path) -> _Kind | None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(_ENCRYPTED.encode("utf-16-le")) >= 0:
            raise UsageError(
                "the office document needs a password", hint="save a copy without a password and parse that"
            )
        streams = _STREAMS.items()
        return next((found for name, found in streams if data.find(name.encode("utf-16-le")) >= 0), None)
