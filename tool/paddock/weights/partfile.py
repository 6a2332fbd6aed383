"""The file of an unfinished download, and the note beside it of what the server said about the file.

While it comes, a file is called `<name>.part`; `<name>.part.json` keeps the ETag, the Last-Modified date and
the length, without which the rest could not be asked for.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from paddock.jsonvalues import MalformedError, field, optional, typed
from paddock.weights.published import Published

SUFFIX = ".part"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What a server said about the file whose beginning is in the part file."""

    url: str
    etag: str | None
    modified: str | None
    size: int | None

    @property
    def condition(self) -> str | None:
        """The value for If-Range: a strong ETag, else the date."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified


class PartFile:
    """The part file of the download to the file `to`."""

    def __init__(self, to: Path) -> None:
        self.path = to.with_name(f"{to.name}{SUFFIX}")
        self._to = to
        self._note = to.with_name(f"{to.name}{SUFFIX}.json")

    @property
    def label(self) -> str:
        """The name of the finished file."""
        return self._to.name

    def size(self) -> int:
        """Bytes that have come so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def note(self) -> Note | None:
        """Return the note; None when there is none or it is not ours."""
        try:
            found = typed(json.loads(self._note.read_bytes()), dict, "the note")
            return Note(
                url=field(found, "url", str),
                etag=optional(found, "etag", str),
                modified=optional(found, "modified", str),
                size=optional(found, "size", int),
            )
        except (OSError, ValueError, MalformedError):
            return None

    def resumable(self, url: str, published: Published) -> Note | None:
        """Return the note of a part file that can be continued; otherwise remove both and return None."""
        note = self.note()
        if note is not None and self._continues(note, url, published):
            return note
        self.discard()
        return None

    def _continues(self, note: Note, url: str, published: Published) -> bool:
        held = self.size()
        if note.url != url or not held:
            return False
        if note.condition is None and not published.hashed:
            return False  # a change of the file would go unnoticed
        if note.size is None:
            return True
        return held <= note.size and published.size in (None, note.size)

    def start(self, note: Note) -> None:
        """Begin at zero: first an empty file, then the note, so that a note never describes older bytes.

        The note is not flushed: a part file that lost it in a power cut begins again.
        """
        self.path.write_bytes(b"")
        fresh = self._note.with_name(f"{self._note.name}.new")
        fresh.write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")
        fresh.replace(self._note)

    def discard(self) -> None:
        """Remove the part file and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the complete file its name."""
        self.path.replace(self._to)
        self._note.unlink(missing_ok=True)
