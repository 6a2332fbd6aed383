"""Reading JSON while it arrives, value by value, without ever holding all of it.

A server that cannot be trusted decides how long its answer is, how deep, and how much memory each of its
bytes costs a reader. So a reader asks for what is due next: text is read within a `Budget`, base64 goes piece
by piece to where it is kept, and what nobody wants is passed over. Whatever is wrong raises MalformedError.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator

from paddock.jsonvalues import MalformedError, decoded

MOST_LEVELS = 100  # of lists and objects inside each other; the answers of PaddleX have seven
LONGEST_NAME = 1000  # bytes of the name of a member

_CHUNK = 1 << 18  # bytes asked for at a time
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*+")
_STRUCTURE = re.compile(rb'[^][{}"]*+')
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE = b'"'
_KINDS = {b"{": "dict", b"[": "list", _QUOTE: "str", b"n": "NoneType", b"t": "bool", b"f": "bool"}

_Take = Callable[[bytes, int], None]  # a piece of JSON, and how many values begin in it


class Budget:
    """How much of one part of an answer may come: bytes of JSON, and values.

    A character may cost its reader 4 bytes of memory, and a value about 70 and some time, however short it is
    in JSON.
    """

    def __init__(self, *, size: int, values: int) -> None:
        self._size, self._values = size, values

    def spend(self, size: int, values: int) -> None:
        """Take something off. Raises MalformedError when it is more than there was left."""
        self._size -= size
        self._values -= values
        if self._size < 0 or self._values < 0:
            raise MalformedError("found more text and values than one page can have")


class JsonStream:
    """The JSON that `receive` gives when it is asked for some bytes, b"" at its end."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = b""
        self._at = 0

    def kind(self) -> str:
        """The type of the next value, in Python's words; `int` for every number."""
        return _KINDS.get(self._ahead(), "int")

    def members(self, budget: Budget) -> Iterator[str]:
        """Yield the name of each member of an object; its value must be read before the next is asked for."""
        self._open("{", "dict")
        if self._ahead() == b"}":
            self._at += 1
            return
        ended = False
        while not ended:
            yield self._name(budget)
            ended = self._separator(b"}")

    def elements(self) -> Iterator[None]:
        """Yield before each element of a list; it must be read before the next is asked for."""
        self._open("[", "list")
        if self._ahead() == b"]":
            self._at += 1
            return
        ended = False
        while not ended:
            yield
            ended = self._separator(b"]")

    def raw(self, budget: Budget) -> bytes:
        """Return the JSON of the next value, whatever it is; what is in it is not checked."""
        kept = bytearray()

        def keep(piece: bytes, values: int) -> None:
            budget.spend(len(piece), values)
            kept.extend(piece)

        self._pass(keep)
        return bytes(kept)

    def value(self, budget: Budget) -> object:
        """Return the next value, whatever it is."""
        return decoded(self.raw(budget))

    def skip(self, budget: Budget) -> None:
        """Pass over the next value; text in it may be as long as it likes."""
        self._pass(lambda _piece, values: budget.spend(0, values))

    def base64(self, write: Callable[[bytes], object]) -> None:
        """Decode the next value, a string of base64, and `write` it in pieces."""
        self._open(_QUOTE.decode(), "base64")
        rest, ended, padded = b"", False, False
        while not ended:
            self._need()
            end = self._buffer.find(_QUOTE, self._at)
            ended = end >= 0
            piece = rest + self._taken(end if ended else len(self._buffer))
            if piece.startswith((b"http://", b"https://")):
                raise MalformedError(
                    "found a link, expected base64: set Serving.return_urls to false in the API"
                )
            whole = len(piece) if ended else (len(piece) - 1) // 4 * 4  # padding is at the end only
            rest = piece[whole:]
            if padded and piece:
                raise MalformedError("found more after its end")
            padded = piece[:whole].endswith(b"=")
            try:
                write(binascii.a2b_base64(piece[:whole], strict_mode=True))
            except binascii.Error as wrong:
                raise MalformedError(str(wrong)) from wrong
        self._at += 1

    def _pass(self, take: _Take) -> None:
        """Pass over a value and hand over its bytes."""
        if self._ahead() not in (b"{", b"[", _QUOTE):
            self._run(_SCALAR, take)
            return
        levels = 0
        while True:
            self._run(_STRUCTURE, take)
            mark = self._taken(self._at + 1)
            take(mark, mark in (b"{", b"["))
            if mark == _QUOTE:
                self._pass_string(take)
            else:
                levels += 1 if mark in (b"{", b"[") else -1
            if levels > MOST_LEVELS:
                raise MalformedError(f"found more than {MOST_LEVELS} values inside each other")
            if levels <= 0:
                return

    def _pass_string(self, take: _Take) -> None:
        while True:
            self._run(_STRING, take)
            mark = self._taken(self._at + 1)
            take(mark, 0)
            if mark == _QUOTE:
                return
            self._need()  # a backslash that was the last byte of its chunk
            take(self._taken(self._at + 1), 0)

    def _run(self, pattern: re.Pattern[bytes], take: _Take) -> None:
        """Pass over what matches `pattern`; afterwards there is a next byte."""
        while True:
            found = pattern.match(self._buffer, self._at)
            piece = self._taken(found.end() if found else self._at)
            take(piece, piece.count(b",") if pattern is _STRUCTURE else 0)
            if self._at < len(self._buffer):
                return
            self._need()

    def _name(self, budget: Budget) -> str:
        if self._ahead() != _QUOTE:
            raise MalformedError("not JSON: a member without a name")
        name = self.raw(Budget(size=LONGEST_NAME, values=0))
        budget.spend(len(name), 1)
        if self._ahead() != b":":
            raise MalformedError("not JSON: a name without a value")
        self._at += 1
        return str(decoded(name))

    def _open(self, mark: str, kind: str) -> None:
        if self._ahead() != mark.encode():
            raise MalformedError(f"found {self.kind()}, expected {kind}")
        self._at += 1

    def _separator(self, end: bytes) -> bool:
        """Pass over what follows a value: whether it is the end of the list or object."""
        mark = self._ahead()
        if mark not in (b",", end):
            raise MalformedError("not JSON: values without a comma between them")
        self._at += 1
        return mark == end

    def _ahead(self) -> bytes:
        """The next byte that is not space; it stays the next one."""
        self._need()
        self._run(_SPACE, lambda _piece, _values: None)
        return self._buffer[self._at : self._at + 1]

    def _taken(self, end: int) -> bytes:
        piece = self._buffer[self._at : end]
        self._at = end
        return piece

    def _need(self) -> None:
        """Have at least one more byte."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._receive(_CHUNK), 0
            if not self._buffer:
                raise MalformedError("not JSON: it ends too early")
