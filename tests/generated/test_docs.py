"""The documents say what is so: tables equal the data, commands exist, links lead somewhere, both READMEs
keep step.

A table that comes from data stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from paddock import __version__, errors, paths
from paddock.building import settings
from paddock.cli import COMMANDS, paddock
from paddock.errors import PaddockError
from paddock.matrix.images import TOOL, stack_images
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from paddock.render.renderer import Renderer
from paddock.stack import diagnosis
from paddock.weights import markers
from repository import REPOSITORY

PACKAGE = REPOSITORY / "tool" / "paddock"
ENGLISH = REPOSITORY / "README.md"
CHINESE = REPOSITORY / "README.zh-CN.md"
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
REGISTRY = load_registry(paths.templates())
STACKS = list(REGISTRY.stacks())

TABLE = re.compile(r"^<!-- table: (?P<name>[a-z ]+) -->\n(?P<lines>(?:\|.*\n)+)<!-- end -->$", re.MULTILINE)
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}")
EXAMPLE = re.compile(r"^#?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$", re.MULTILINE)
READ_FROM_SHELL = re.compile(r"""(?:environ(?:ment)?(?:\.get\(|\[)|envvar=)["']([A-Z_]+)["']""")

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix()
)


def table(document: Path, name: str) -> list[list[str]]:
    """The rows below the heading of the table with that name; each cell without its spaces."""
    found = [match for match in TABLE.finditer(document.read_text("utf-8")) if match["name"] == name]
    assert len(found) == 1, f"{document.name}: found {len(found)} tables {name}, expected one"
    lines = found[0]["lines"].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert rows, f"{document.name}: table {name} is empty"
    assert {len(row) for row in rows} == {lines[0].count("|") - 1}
    return rows


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text("utf-8"))


def code(names: Iterable[str], default: str = "") -> str:
    return ", ".join(f"`{name}`" + (" (default)" if name == default else "") for name in names)


# --- tables from the registry -------------------------------------------------------------------------------


def support() -> list[list[str]]:
    return [
        [
            f"`{target.name}`",
            target.description,
            ", ".join(target.platforms),
            code(target.backends, target.default_backend),
            code(
                sorted({stack.model.name for stack in REGISTRY.all_stacks() if stack.target == target}),
                target.default_model,
            ),
        ]
        for target in REGISTRY.targets.values()
    ]


def test_the_support_table_is_the_registry() -> None:
    assert table(ENGLISH, "support") == support()


def test_the_chinese_support_table_names_the_same() -> None:
    translated = [
        [cell.replace("（默认）", " (default)").replace("、", ", ") for cell in row]
        for row in table(CHINESE, "support")
    ]
    assert [row[:1] + row[2:] for row in translated] == [row[:1] + row[2:] for row in support()]


def test_every_stack_of_the_support_table_is_rendered() -> None:
    """The README promises both variants of each target with each of its backends."""
    promised = {
        f"{target[0]}/{backend}"
        for target in table(ENGLISH, "support")
        for backend in SPAN.findall(target[3])
    }
    for variant in Variant:
        committed = {
            f"`{each.target.name}`/{each.backend.name}" for each in STACKS if each.variant is variant
        }
        assert committed == promised


def test_the_table_of_models_is_the_registry() -> None:
    assert table(REPOSITORY / "docs/models.md", "models") == [
        [
            f"`{model.name}`",
            f"`{model.pipeline.layout_model}`" if model.pipeline else "",
            f"`{model.served_name}`",
        ]
        for _, model in sorted(REGISTRY.models.items())
    ]


def test_images_and_versions_in_the_documents_are_those_of_today() -> None:
    real = {image.reference() for stack in STACKS for image in stack_images(stack)} | {TOOL.reference()}
    text = "\n".join(document.read_text("utf-8") for document in DOCUMENTS)
    named = set(re.findall(r"paddock/[a-z0-9.-]+:[\w.-]+", text))
    assert named
    assert named <= real
    pins = {f"{name}=={pin}" for stack in STACKS for name, pin in stack.vlm.image.pins.items()}
    pinned = set(re.findall(r"\b[\w-]+==[\d.]+", text))
    assert pinned
    assert pinned <= pins
    assert re.search(
        rf"^## \[{re.escape(__version__)}\]", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


# --- tables from the code -----------------------------------------------------------------------------------


def exit_codes() -> dict[str, str]:
    """Each code with the first line of the class that brings it in, or of both."""
    found: dict[str, str] = {}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, PaddockError) and "exit_code" in vars(each):
            code, line = str(each.exit_code), (each.__doc__ or "").splitlines()[0]
            found[code] = f"{found[code]} {line}" if code in found else line
    return found


def test_the_table_of_exit_codes_is_errors_py() -> None:
    found = {row[0]: row[1] for row in table(ENGLISH, "exit codes")}
    expected = exit_codes()
    assert len(expected) > 8
    assert set(found) == {"0", *expected}
    assert {each: found[each] for each in found if each not in "01"} == {
        each: text for each, text in expected.items() if each not in "01"
    }
    assert [row[0] for row in table(CHINESE, "exit codes")] == list(found)


def test_the_table_of_meanings_is_diagnosis_py() -> None:
    meanings = [cause.meaning for cause in diagnosis._CAUSES] + [diagnosis._OUT_OF_MEMORY, diagnosis._KILLED]
    assert table(REPOSITORY / "docs/operating.md", "diagnosis") == [
        [each.what, each.step] for each in meanings
    ]


def test_every_message_of_the_table_is_in_the_code() -> None:
    said = [
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for message, *_ in table(REPOSITORY / "docs/operating.md", "messages"):
        (words,) = SPAN.findall(message)
        assert any(words in text for text in said), words


def test_figures_of_the_scripts() -> None:
    script = (REPOSITORY / "scripts/setup/start-engine.sh").read_text("utf-8")
    (wanted,) = re.findall(r"room_wanted_gb=(\d+)", script)
    for readme in (ENGLISH, CHINESE):
        assert f" {wanted} GB" in readme.read_text("utf-8")


# --- variables ----------------------------------------------------------------------------------------------

CONFIGURATION = REPOSITORY / "docs/configuration.md"


def variables(*kinds: str) -> dict[str, str]:
    """Variables of the tables of these kinds with their defaults, without the code quotes."""
    rows = [row for kind in kinds for row in table(CONFIGURATION, f"variables {kind}")]
    names = [row[0].strip("`") for row in rows]
    assert len(set(names)) == len(names)
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def read_by_builds() -> set[str]:
    """The names in settings.py, without those of other programs that mean the same."""
    tree = ast.parse((PACKAGE / "building" / "settings.py").read_text("utf-8"))
    constants = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    others = {each for same in settings._SAME_AS.values() for each in same}
    return {each for each in constants if re.fullmatch(r"[A-Z][A-Z_]+", each)} - others


def read_by_stacks() -> dict[str, set[str]]:
    """Variables of all compose files with the defaults that they have there."""
    found: dict[str, set[str]] = {}
    for path, text in Renderer(paths.templates()).all(REGISTRY).items():
        if path.name == "compose.yaml" or (path.parts[0], path.parent.name) == ("compose", "images"):
            for use in VARIABLE.finditer(text):
                found.setdefault(use["name"], set()).add(use["default"])
    return found


def test_env_example_has_each_variable_once() -> None:
    text = (REPOSITORY / ".env.example").read_text("utf-8")
    names = [found["name"] for found in EXAMPLE.finditer(text)]
    assert len(names) == len(set(names))
    assert set(names) == read_by_builds() | set(read_by_stacks())
    assert set(names) == set(variables("both", "build", "stack"))


def test_every_variable_of_env_example_is_explained_and_has_its_default() -> None:
    text = (REPOSITORY / ".env.example").read_text("utf-8")
    example = {found["name"]: found["value"] for found in EXAMPLE.finditer(text)}
    documented = variables("both", "build", "stack")
    for name, defaults in read_by_stacks().items():
        if name == "MODELS_DIR":  # relative to two different places: the example leaves it empty
            assert example[name] == ""
            continue
        assert example[name] in defaults, name
        assert documented[name] in defaults, name
    for name in read_by_builds() - set(read_by_stacks()):
        assert example[name] == documented[name] == "", name
    for before, after in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if EXAMPLE.match(after):
            assert before.startswith("#"), f"{after}: no comment above it"


def test_the_variables_of_each_kind() -> None:
    both = read_by_builds() & set(read_by_stacks())
    assert set(variables("both")) == both
    assert set(variables("build")) == read_by_builds() - both
    assert set(variables("stack")) == set(read_by_stacks()) - both


def test_the_variables_of_the_tool_are_those_that_it_reads() -> None:
    read = {
        name for path in PACKAGE.rglob("*.py") for name in READ_FROM_SHELL.findall(path.read_text("utf-8"))
    }
    assert len(read) > 8
    assert set(variables("tool")) == read


def test_names_that_mean_the_same_are_all_told() -> None:
    text = CONFIGURATION.read_text("utf-8")
    for name, others in settings._SAME_AS.items():
        for each in (name, *others):
            assert f"`{each}`" in text, each


# --- commands -----------------------------------------------------------------------------------------------


def shell_lines(document: Path) -> Iterator[str]:
    for fence in FENCE.finditer(document.read_text("utf-8")):
        if fence["language"] == "sh":
            yield from fence["text"].replace("\\\n", " ").splitlines()


def command_lines(document: Path) -> Iterator[list[str]]:
    """The whole commands of paddock in shell blocks, redirections left out."""
    for line in shell_lines(document):
        if line.startswith("paddock "):
            words = shlex.split(line)
            yield words[1 : next((i for i, word in enumerate(words) if word in {">", "|"}), None)]


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that these words name, and what is left of them."""
    command: click.Command = paddock
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {' '.join(words)}"
        command, words = found, words[1:]
    return command, words


def options_of(command: click.Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {
        "-h",
        "--help",
        "--version",
    }


@every_document
def test_commands_in_shell_blocks_are_understood(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """click itself reads them, without running anything, whatever runs on this machine."""
    monkeypatch.setenv("PADDOCK_URL", "http://127.0.0.1:8080")
    for words in command_lines(document):
        command, arguments = find(words)
        if {"--help", "--version"} & set(arguments):
            continue
        read = command.make_context("paddock", list(arguments)).params
        for kind, look_up in {
            "target": REGISTRY.target,
            "target_or_dir": REGISTRY.target,
            "model": REGISTRY.model,
            "backend": REGISTRY.backend,
        }.items():
            if read.get(kind) not in (None, TOOL.target):
                look_up(read[kind])  # raises for a name that is not there


@every_document
def test_commands_in_the_text_exist(document: Path) -> None:
    for span in SPAN.findall(prose(document)):
        if not re.match(r"paddock [a-z]", span) or span == markers.DEFAULT_TEXT:
            continue
        words = [word for word in span.split() if word not in {"...", "|"}][1:]
        command, arguments = find(words)
        wrong = {word for word in arguments if word.startswith("-")} - options_of(command)
        assert not wrong, f"{span}: {wrong}"


def test_the_documents_show_every_command() -> None:
    """Found in shell blocks or in the text; a command that nobody reads about does not exist."""
    text = "\n".join(document.read_text("utf-8") for document in DOCUMENTS)
    for name in COMMANDS:
        assert re.search(rf"paddock {name}\b", text), name
        importlib.import_module(f"paddock.cli.{COMMANDS[name].module}")


@every_document
def test_make_targets_and_scripts_exist(document: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    text = document.read_text("utf-8")
    spans = [*SPAN.findall(text), *shell_lines(document)]
    for span in spans:
        if found := re.match(r"make ([a-z-]+)", span):
            assert re.search(rf"^{found[1]}:", makefile, re.MULTILINE), span
        if found := re.match(r"(scripts/[\w./-]+|\.ci/\w+)", span):
            assert (REPOSITORY / found[1]).is_file(), span


# --- structure and links ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What two languages must have in common."""

    headings: list[int]
    fences: list[str]
    tables: list[str]
    links: Counter[str]


def shape(document: Path) -> Shape:
    text = document.read_text("utf-8")
    return Shape(
        headings=[len(found[1]) for found in HEADING.finditer(FENCE.sub("", text))],
        fences=[found[0] for found in FENCE.finditer(text)],
        tables=[found["name"] for found in TABLE.finditer(text)],
        links=Counter(link.partition("#")[0] for link in links(text) if not link.startswith("README")),
    )


def links(text: str) -> list[str]:
    return [found["target"] for found in LINK.finditer(FENCE.sub("", text))]


def test_both_readmes_keep_step() -> None:
    english, chinese = shape(ENGLISH), shape(CHINESE)
    assert english.headings == chinese.headings
    assert english.fences == chinese.fences
    assert english.tables == chinese.tables
    assert english.links == chinese.links
    assert len(english.fences) > 8
    assert "README.zh-CN.md" in links(ENGLISH.read_text("utf-8"))
    assert "README.md" in links(CHINESE.read_text("utf-8"))


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    slugs: list[str] = []
    for _, title in HEADING.findall(prose(document)):
        words = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        slugs.append(f"{words}-{slugs.count(words)}" if words in slugs else words)
    return set(slugs)


@every_document
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for link in links(document.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.is_file(), link
        assert target.is_relative_to(REPOSITORY), link
        assert not anchor or anchor in anchors(target), link


@every_document
def test_tables_are_whole(document: Path) -> None:
    """Every row of every table has as many cells as its heading."""
    block: list[str] = []
    for line in [*prose(document).splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
            continue
        cells = [re.sub(r"`[^`]*`", "", each).replace(r"\|", "").count("|") for each in block]
        assert len(set(cells)) <= 1, f"{block[0]}: found rows of {sorted(set(cells))} bars"
        block = []


# --- honesty ------------------------------------------------------------------------------------------------


@every_document
def test_what_test_weights_say_is_shown_as_such(document: Path) -> None:
    text = document.read_text("utf-8")
    if markers.DEFAULT_TEXT in text:
        assert re.search(r"\*\*(test weights|测试权重)\*\*", text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("readme", "words"),
    [(ENGLISH, ("test weights", "No real weights were ever run")), (CHINESE, ("测试权重", "从未"))],
    ids=["en", "zh"],
)
def test_the_readmes_say_what_was_never_run(readme: Path, words: tuple[str, ...]) -> None:
    for each in words:
        assert each in readme.read_text("utf-8")


def test_fixed_sentence_is_the_one_that_test_weights_say() -> None:
    shown = re.findall(r"^paddock test weights: .*$", ENGLISH.read_text("utf-8"), re.MULTILINE)
    assert shown == [markers.DEFAULT_TEXT]
