"""Markdown without HTML, for programs that show results to people and must not run what a page says.

PaddleX writes tables and images as HTML, and sets some text in `div`. Here tables become pipe tables, images
Markdown's own, and marks of layout fall away. Every other `<` that could begin HTML becomes `&lt;`: what a
page shows between angle brackets is its text. Links lead to http, https and mailto only, and images are those
of the page. Takes time in proportion to the text, whatever that is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection

_LAYOUT = frozenset({"div", "span", "p", "center", "html", "body", "thead", "tbody", "tfoot", "caption"})
_MARKS = _LAYOUT | {"b", "i", "u", "em", "strong", "sub", "sup"}
_ATTRIBUTE = r"""\s++[a-zA-Z][-\w:]*+\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=]++)"""
_MARKUP = re.compile(rf"<(/?)([a-zA-Z]++[1-6]?+)((?:{_ATTRIBUTE})*+)\s*+/?>|<(?=[a-zA-Z/!?])")
_VALUE = re.compile(r"""([a-zA-Z][-\w:]*+)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|(\S++))""")
_SPACES = re.compile(r"\s++")

_IMAGE = re.compile(r"!(?=\[([^][\n]{0,200})\]\(\s*+([^)\s>]*+))")
_DESTINATION = re.compile(r"(\]\(\s*+<?+\s*+|^ {0,3}\[[^]\n]{1,200}\]:\s*+<?+\s*+)([^)\s>]++)", re.MULTILINE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*+):")
_SCHEMES = frozenset({"http", "https", "mailto"})

_MOST_SPANNED = 20_000  # cells of a page that are empty because another one reaches over them


def plain(markdown: str, *, images: Collection[str]) -> str:
    """Return Markdown without HTML that looks the same, but for merged cells and sizes; `images` are its own.

    A cell that spans several stands in the first of them, and the others are empty.
    """
    writer = _Writer(images)
    at = 0
    for found in _MARKUP.finditer(markdown):
        writer.text(markdown[at : found.start()])
        if found[2] is None:
            writer.text("&lt;")
        else:
            writer.tag(found[2].lower(), closing=bool(found[1]), attributes=found[3], source=found[0])
        at = found.end()
    writer.text(markdown[at:])
    return _with_safe_links(writer.finished(), images)


def _with_safe_links(text: str, images: Collection[str]) -> str:
    text = _IMAGE.sub(lambda found: "!" if found[2] in images else r"\!", text)
    return _DESTINATION.sub(lambda found: found[1] + (found[2] if _is_safe(found[2]) else "#"), text)


def _is_safe(destination: str) -> bool:
    """Whether a link leads to the web or below the document, also after the escapes that Markdown undoes."""
    bare = "".join(character for character in html.unescape(destination) if character not in "\\\t\r\n\0")
    scheme = _SCHEME.match(bare.lower())
    return scheme is None or scheme[1] in _SCHEMES


class _Writer:
    """Writes Markdown from text and tags as they come; inside a table text goes to its cells."""

    def __init__(self, images: Collection[str]) -> None:
        self._images = images
        self._written: list[str] = []
        self._table: _Table | None = None
        self._spanned = _MOST_SPANNED

    def text(self, text: str) -> None:
        """Write text as it is."""
        if self._table is None:
            self._written.append(text)
        else:
            self._table.text(text)

    def tag(self, name: str, *, closing: bool, attributes: str, source: str) -> None:
        """Write what a tag stands for; `source` is how it was written."""
        if name in ("table", "tr", "td", "th"):
            self._table_tag(name, closing=closing, attributes=attributes)
        elif name == "br":
            self.text("\n")
        elif name == "img":
            self.text(self._image(_values(attributes)))
        elif name not in _MARKS:
            self.text("&lt;" + source[1:])

    def finished(self) -> str:
        """All that was written."""
        self._end_table()
        return "".join(self._written)

    def _table_tag(self, name: str, *, closing: bool, attributes: str) -> None:
        if name == "table":
            self._end_table()
            self._table = None if closing else _Table()
        elif self._table is not None and not closing:
            if name == "tr":
                self._table.row()
            else:
                self._spanned -= self._table.cell(_values(attributes), most=self._spanned)

    def _end_table(self) -> None:
        if self._table is not None:
            self._written.append(self._table.markdown())
            self._table = None

    def _image(self, values: dict[str, str]) -> str:
        source, alternative = values.get("src", ""), values.get("alt", "")
        alternative = _SPACES.sub(" ", re.sub(r"[][<>!\\]", "", alternative))[:200]
        return f"![{alternative}]({source})" if source in self._images else alternative


class _Table:
    """A table as Markdown has it: the first row is its head."""

    def __init__(self) -> None:
        self._loose: list[str] = []  # text outside of its cells, such as a caption
        self._rows: list[list[list[str]]] = []  # texts by row and column
        self._cell = self._loose
        self._covered: dict[int, int] = {}  # by column: the row at which a cell that reaches down ends

    def text(self, text: str) -> None:
        """Write into the last cell."""
        self._cell.append(text)

    def row(self) -> None:
        """Begin a row."""
        self._rows.append([])
        self._cell = self._loose

    def cell(self, values: dict[str, str], *, most: int) -> int:
        """Begin a cell; returns how many empty cells, about `most` at most, it reaches over."""
        if not self._rows:
            self.row()
        row, here = self._rows[-1], len(self._rows)
        while self._covered.get(len(row), 0) >= here:
            row.append([])
        columns = min(_number(values.get("colspan")), most + 1)
        rows = min(_number(values.get("rowspan")), most // columns + 1)
        self._cell = []
        for column in range(len(row), len(row) + columns):
            self._covered[column] = here + rows - 1
        row += [self._cell, *([] for _ in range(columns - 1))]
        return columns * rows - 1

    def markdown(self) -> str:
        """The table between empty lines; its loose text stands above it."""
        rows = [[_on_one_line(cell).replace("|", r"\|") for cell in row] for row in self._rows if row]
        loose = _on_one_line(self._loose)
        if not rows:
            return loose
        width = max(map(len, rows))
        rows[0] += [""] * (width - len(rows[0]))
        rows.insert(1, ["---"] * width)
        lines = (f"| {' | '.join(row)} |" for row in rows)
        return "\n\n" + f"{loose}\n\n" * bool(loose) + "\n".join(lines) + "\n\n"


def _values(attributes: str) -> dict[str, str]:
    """The attributes of a tag by name."""
    return {found[1].lower(): found[2] or found[3] or found[4] or "" for found in _VALUE.finditer(attributes)}


def _number(value: str | None) -> int:
    """How many rows or columns an attribute names; one where it names none."""
    return max(int(value), 1) if value and re.fullmatch("[0-9]{1,5}", value) else 1


def _on_one_line(pieces: list[str]) -> str:
    return " ".join("".join(pieces).split())
