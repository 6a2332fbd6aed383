"""Blocks of a document that a program writes: what stands between `<!-- table: NAME -->` and `<!-- end -->`.

In a file whose comments start with `#`, such as .env.example, both marks stand behind `# `.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_BLOCK = re.compile(
    r"^(?P<begin>(?:# )?<!-- table: (?P<name>[a-z ]+) -->\n)(?P<body>.*?)(?P<end>^(?:# )?<!-- end -->$)",
    re.MULTILINE | re.DOTALL,
)


def names(text: str) -> list[str]:
    """The names of all blocks, in their order."""
    return [block["name"] for block in _BLOCK.finditer(text)]


def body(text: str, name: str) -> str:
    """What stands in the block with that name; empty where there is none."""
    return next((block["body"] for block in _BLOCK.finditer(text) if block["name"] == name), "")


def replaced(text: str, bodies: Mapping[str, Callable[[], str]]) -> str:
    """The text with the body of every block made anew. Raises KeyError for a name that is not in `bodies`."""
    return _BLOCK.sub(lambda block: block["begin"] + bodies[block["name"]]() + block["end"], text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [" | ".join(headings), *(" | ".join(cells) for cells in rows)]
    lines = [re.sub(r"\|  (?=\|)", "| ", f"| {line} |") for line in lines]
    return "\n".join([lines[0], f"|{'---|' * len(headings)}", *lines[1:], ""])


def code(words: Iterable[str], *, default: str = "") -> str:
    """Words as code, one of them marked as the default."""
    return ", ".join(f"`{word}`" + (" (default)" if word == default else "") for word in words)
