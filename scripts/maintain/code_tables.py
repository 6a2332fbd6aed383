"""Tables that the code gives: its rooms, exit codes, what failures mean, what messages mean."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import paddock
from blocks import table
from descriptions import descriptions, in_chinese
from paddock import errors
from paddock.errors import ConfigurationError, PaddockError
from paddock.stack import diagnosis

PACKAGE = Path(paddock.__file__).parent


def rooms() -> str:
    """Every folder and every single file of the package, with the first paragraph of its docstring."""
    folders = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
    files = sorted(path for path in PACKAGE.glob("*.py") if path.name != "__init__.py")
    rows = [(f"`{folder.relative_to(PACKAGE)}/`", _summary(folder / "__init__.py")) for folder in folders]
    return table(("room", "what is in it"), [*rows, *((f"`{file.name}`", _summary(file)) for file in files)])


def _summary(path: Path) -> str:
    return _first_paragraph(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")


def _first_paragraph(documented: str) -> str:
    return " ".join(documented.partition("\n\n")[0].split())


def exit_codes() -> str:
    """Each code with the first paragraph of the class that brings it in, or of both."""
    return table(("code", "meaning"), _meanings_of_codes().items())


def exit_codes_in_chinese() -> str:
    """The same in Chinese."""
    rows = ((code, in_chinese(meaning)) for code, meaning in _meanings_of_codes().items())
    return table(("状态", "含义"), rows)


def _meanings_of_codes() -> Mapping[str, str]:
    meanings = dict(descriptions().exit_codes)
    for error in vars(errors).values():
        if not isinstance(error, type) or not issubclass(error, PaddockError) or error is PaddockError:
            continue
        if "exit_code" not in vars(error):
            continue
        code, meaning = str(error.exit_code), _first_paragraph(error.__doc__ or "")
        meanings[code] = f"{meanings[code]} {meaning}" if code in meanings else meaning
    return meanings


def diagnoses() -> str:
    """What `paddock up` says of a container that failed, and the next step."""
    return table(("this means", "do"), ((meaning.what, meaning.step) for meaning in diagnosis.meanings()))


def messages() -> str:
    """Messages of paddock's own. Raises ConfigurationError for one that the code no longer has."""
    texts = list(_texts_of_the_code())
    for message in descriptions().messages:
        if not any(message in text for text in texts):
            raise ConfigurationError(f"messages: found no {message!r} in the code, expected it there")
    rows = ((f"`{message}`", told.meaning, told.do) for message, told in descriptions().messages.items())
    return table(("message", "meaning", "do"), rows)


def _texts_of_the_code() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
