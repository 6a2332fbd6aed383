"""Office documents as far as their kind shows, and a stand-in for LibreOffice."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)

# It makes the PDF $PADDOCK_TEST_PDF of everything, and leaves its arguments and settings beside that.
_SOFFICE = """#!/bin/sh
while [ "$1" != --outdir ]; do
    case $1 in -env:UserInstallation=file://*) profile=${1#*file://} ;; esac
    printf '%s\\n' "$1" >>"$PADDOCK_TEST_PDF.arguments"
    shift
done
cp "$profile/user/registrymodifications.xcu" "$PADDOCK_TEST_PDF.settings"
[ ! -s "$PADDOCK_TEST_PDF" ] || cp "$PADDOCK_TEST_PDF" "$2/$(basename "${3%.*}").pdf"
"""


def zipped(**members: str) -> bytes:
    """A ZIP archive; two underscores in a name stand for a slash, one for a full stop."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            # Of 1980 without more, so it has the same bytes always.
            member = zipfile.ZipInfo(name.replace("__", "/").replace("_", "."))
            archive.writestr(member, text)
    return file.getvalue()


def compound(stream: str) -> bytes:
    """A compound file with a stream of that name, as far as its directory shows."""
    return COMPOUND + stream.encode("utf-16-le") + bytes(512)


def stand_in(folder: Path) -> Path:
    """Put a program `soffice` into `folder`; return the folder."""
    program = folder / "soffice"
    program.write_text(_SOFFICE)
    program.chmod(0o755)
    return folder


DOCUMENTS: dict[str, bytes] = {
    "Word document": zipped(word__document_xml="<w/>"),
    "Excel workbook": zipped(xl__workbook_xml="<w/>"),
    "PowerPoint presentation": zipped(ppt__presentation_xml="<w/>"),
    "OpenDocument text": zipped(mimetype="application/vnd.oasis.opendocument.text", content_xml=""),
    "OpenDocument spreadsheet": zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet"),
    "OpenDocument presentation": zipped(mimetype="application/vnd.oasis.opendocument.presentation"),
    "RTF document": b"{\\rtf1 words}",
}
OLD_DOCUMENTS: dict[str, bytes] = {
    "Word document": compound("WordDocument"),
    "Excel workbook": compound("Workbook"),
    "PowerPoint presentation": compound("PowerPoint Document"),
}
