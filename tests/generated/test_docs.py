"""The documents say what is so: tables are current, commands exist, links lead somewhere, READMEs keep step.

A table that is made from code or data stands between `<!-- table: NAME -->` and `<!-- end -->`;
scripts/maintain/write-tables.py writes it.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import blocks
from paddock import __version__, paths
from paddock.cli import COMMANDS, paddock
from paddock.matrix.images import SITE, TOOL, shared_image, stack_images
from paddock.matrix.load import load_registry, load_shared_images
from paddock.matrix.records import Variant
from paddock.weights import markers
from repository import REPOSITORY
from tables import documents, out_of_date
from variable_tables import groups

ENGLISH = REPOSITORY / "README.md"
CHINESE = REPOSITORY / "README.zh-CN.md"
DOCUMENTS = [
    *(
        REPOSITORY / name
        for name in ("README.md", "README.zh-CN.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md")
    ),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
# Folders whose files may name a document or a file of the repository.
NAMING = ("compose", "images", "scripts", "templates", "tests", "tool")
REGISTRY = load_registry(paths.templates())
STACKS = list(REGISTRY.stacks())

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
EXAMPLE = re.compile(r"^#?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$", re.MULTILINE)
ELSEWHERE = {"docs/airgap.md"}  # in a bundle that a test makes
MENTION = re.compile(r"(?<![\w/])docs/[\w/-]+\.md")

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix()
)


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text("utf-8"))


# --- tables -------------------------------------------------------------------------------------------------


def test_the_tables_are_current() -> None:
    stale = [path.relative_to(REPOSITORY).as_posix() for path in out_of_date()]
    assert not stale, "run scripts/maintain/write-tables.py"


def test_a_table_that_was_changed_is_found_and_made_again(tmp_path: Path) -> None:
    for path in documents(REPOSITORY):
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    models = tmp_path / "docs/guides/models.md"
    right = models.read_text("utf-8")
    models.write_text(right.replace("| `embedded` |", "| `embeded` |"), "utf-8")
    assert out_of_date(tmp_path)[models] == right


def test_every_stack_of_the_support_table_is_rendered() -> None:
    """The README promises both variants of each target with each of its backends."""
    rows = blocks.body(ENGLISH.read_text("utf-8"), "support").splitlines()[2:]
    promised = {
        f"{SPAN.findall(target)[0]}/{backend}"
        for _, target, _, _, backends, *_ in (row.split("|") for row in rows)
        for backend in SPAN.findall(backends)
    }
    assert promised
    for variant in Variant:
        committed = {
            f"{stack.target.name}/{stack.backend.name}" for stack in STACKS if stack.variant is variant
        }
        assert committed == promised


def test_images_and_versions_in_the_documents_are_those_of_today() -> None:
    real = {image.reference() for stack in STACKS for image in stack_images(stack)} | {
        shared_image(name).reference() for name in load_shared_images(paths.templates())
    }
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


def test_figures_of_the_scripts() -> None:
    script = (REPOSITORY / "scripts/setup/start-engine.sh").read_text("utf-8")
    (wanted,) = re.findall(r"room_wanted_gb=(\d+)", script)
    for readme in (ENGLISH, CHINESE):
        assert f" {wanted} GB" in readme.read_text("utf-8")


def test_env_example_has_each_variable_once_below_a_comment() -> None:
    text = (REPOSITORY / ".env.example").read_text("utf-8")
    names = [variable["name"] for variable in EXAMPLE.finditer(text)]
    kinds = ("both", "build", "stack")
    assert sorted(names) == sorted(
        name for kind in kinds for group in groups(kind) for name in group.defaults
    )
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        assert not EXAMPLE.match(line) or before.startswith("#"), f"{line}: no comment above it"


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
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {
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
            if read.get(kind) not in (None, TOOL.target, SITE):
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
            assert (REPOSITORY / found[1]).exists(), span


# Modules in this form, such as `parse/batch.py`, are meant from tool/paddock; whole paths from the top.
MODULE = re.compile(r"`((?:[a-z]+/)+[a-z_]+\.py)`")
STANDS_FOR = re.compile(r"NAME|ROOM|MODULE")
PLACE = re.compile(r"`((?:tool|tests|scripts|templates|images|compose|docs)/[\w./-]+)`")


@every_document
def test_files_that_the_text_names_exist(document: Path) -> None:
    text = prose(document)
    for name in MODULE.findall(text):
        assert any((place / name).is_file() for place in (REPOSITORY, REPOSITORY / "tool/paddock")), name
    for name in PLACE.findall(text):
        assert STANDS_FOR.search(name) or (REPOSITORY / name).exists(), name


def test_documents_that_files_name_exist() -> None:
    named = {
        (file.relative_to(REPOSITORY), name)
        for folder in NAMING
        for kind in ("*.py", "*.sh", "*.j2", "*.yaml", "*.yml")
        for file in (REPOSITORY / folder).rglob(kind)
        for name in MENTION.findall(file.read_text("utf-8", errors="replace"))
    }
    assert named
    lost = {
        (file, name) for file, name in named if name not in ELSEWHERE and not (REPOSITORY / name).is_file()
    }
    assert not lost


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
        tables=blocks.names(text),
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
        cells = [re.sub(r"`[^`]*`", "", row).replace(r"\|", "").count("|") for row in block]
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
    for word in words:
        assert word in readme.read_text("utf-8")


def test_fixed_sentence_is_the_one_that_test_weights_say() -> None:
    shown = re.findall(r"^paddock test weights: .*$", ENGLISH.read_text("utf-8"), re.MULTILINE)
    assert shown == [markers.DEFAULT_TEXT]
