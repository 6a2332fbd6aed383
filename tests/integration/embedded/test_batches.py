"""What `paddock parse` and `paddock up` promise of documents, held with documents whose text is known.

Run with llama.cpp alone: nothing here depends on the VLM server but that it reads.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from embedded_stack import Reader
from paddock.parse.results import RECORD
from paddock.smoke.reading import characters
from programs import container_logs, docker, wait_until
from samples.drawn import Document, document

CHARACTERS_WRONG = 0.03
with_llama = pytest.mark.parametrize("reader", ["llama.cpp"], indirect=True)
INTERRUPTED, KILLED, UNHEALTHY = 130, -signal.SIGKILL, 8


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Document]]:
    """A folder of documents of one and two pages, and what stands on each."""
    folder, r = tmp_path_factory.mktemp("documents"), random.Random(20261121)
    made = {f"{number}.pdf": document(r, pages) for number, pages in enumerate((1, 2, 2))}
    for name, drawn in made.items():
        (folder / name).write_bytes(drawn.file("PDF"))
    return folder, made


@with_llama
def test_a_batch_that_was_interrupted_and_killed_gives_every_page_once(
    reader: Reader, documents: tuple[Path, Mapping[str, Document]], tmp_path: Path
) -> None:
    folder, made = documents
    out = tmp_path / "out"
    for number, (stop, status) in enumerate(((signal.SIGINT, INTERRUPTED), (signal.SIGKILL, KILLED)), 1):
        running = parsing(reader, folder, out)
        wait_for(out, number, running)
        running.send_signal(stop)
        running.communicate(timeout=120)
        assert running.returncode == status
        assert number <= len(finished(out)) < len(made)
    before = finished(out)
    last = json.loads(parsed(parsing(reader, folder, out)))
    assert (last["skipped"], last["done"]) == (len(before), len(made) - len(before))
    assert finished(out) == set(made)
    assert {path.name for path in out.iterdir()} == set(made)  # nothing half-written is left
    for name, drawn in made.items():
        require_text(out / name, drawn)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A document alone in its folder, and what a run that nothing disturbed made of it."""

    folder: Path
    made: Document
    text: str
    lines_read: int


@pytest.fixture(scope="module")
def undisturbed(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    folder, out = tmp_path_factory.mktemp("long"), tmp_path_factory.mktemp("out")
    made = document(random.Random(3), 3)
    (folder / "long.pdf").write_bytes(made.file("PDF"))
    before = read(reader)
    parsed(parsing(reader, folder, out))
    require_text(out / "long.pdf", made)
    text = (out / "long.pdf/document.md").read_text("utf-8")
    return Parsed(folder=folder, made=made, text=text, lines_read=read(reader) - before)


@with_llama
@pytest.mark.parametrize("service", ["api", "vlm"])
def test_a_server_that_ends_in_the_middle_of_a_document_costs_no_page(
    reader: Reader, undisturbed: Parsed, service: str, tmp_path: Path
) -> None:
    container, before = reader.container(service), read(reader)
    started = docker("inspect", "--format", "{{.State.StartedAt}}", container)
    running = parsing(reader, undisturbed.folder, tmp_path)
    wait_until(lambda: read(reader) > before, "the first lines are read")
    if service == "api":
        docker("restart", "-t", "0", container)
    else:  # like a crash: `docker kill` would count as a wish to have it stopped
        docker("exec", container, "sh", "-c", "kill -9 -1", check=False)
    assert read(reader) - before < undisturbed.lines_read
    _, complained = running.communicate(timeout=600)
    if service == "api" and running.returncode == UNHEALTHY:  # it is waited for less long; then it goes on
        assert not finished(tmp_path)
        wait_until(lambda: is_ready(reader), "the stack is ready again")
        parsed(parsing(reader, undisturbed.folder, tmp_path))
    else:
        assert running.returncode == 0, complained
    assert docker("inspect", "--format", "{{.State.StartedAt}}", container) != started
    # what was under way was asked for again; a server that was killed has not counted it
    assert read(reader) - before >= undisturbed.lines_read + (service == "api")
    require_text(tmp_path / "long.pdf", undisturbed.made)
    assert (tmp_path / "long.pdf/document.md").read_text("utf-8") == undisturbed.text


@with_llama
def test_two_batches_at_the_same_time_do_not_mix_their_pages(reader: Reader, tmp_path: Path) -> None:
    batches = {}
    for number in range(2):
        folder, r = tmp_path / f"in{number}", random.Random(number)
        folder.mkdir()
        for name, pages in (("one.pdf", 1), ("other.pdf", 2)):  # of the same names
            batches[folder / name] = document(r, pages)
            (folder / name).write_bytes(batches[folder / name].file("PDF"))
    running = [parsing(reader, tmp_path / f"in{n}", tmp_path / f"out{n}", jobs=2) for n in range(2)]
    for batch in running:
        parsed(batch)
    for path, made in batches.items():
        require_text(tmp_path / path.parent.name.replace("in", "out") / path.name, made)


@with_llama
def test_the_same_text_before_and_after_an_upgrade(
    reader: Reader, documents: tuple[Path, Mapping[str, Document]], rebuilt: str
) -> None:
    file = (documents[0] / "0.pdf").read_bytes()
    before, images = reader.blocks(file, pdf=True), images_of(reader)
    reader.up(IMAGE_PREFIX=rebuilt)
    try:
        upgraded = images_of(reader)
        assert upgraded.isdisjoint(images)
        assert reader.blocks(file, pdf=True) == before
    finally:
        reader.up()
    assert images_of(reader) == images
    assert reader.blocks(file, pdf=True) == before


@pytest.fixture
def rebuilt(reader: Reader) -> Iterator[str]:
    """The prefix of images that were built again: other ids, the same programs."""
    prefix = f"paddock-test-rebuilt-{os.getpid()}/"
    tags = [f"cpu-{name}:{reader.shop.version}" for name in ("api", reader.backend)]
    for tag in tags:
        recipe = f"FROM {reader.shop.prefix}{tag}\nLABEL rebuilt=yes\n"
        docker("build", "--tag", prefix + tag, "-", stdin=recipe)
    yield prefix
    docker("image", "rm", *(prefix + tag for tag in tags))


def images_of(reader: Reader) -> set[str]:
    containers = [reader.container(service) for service in ("api", "vlm")]
    return set(docker("inspect", "--format", "{{.Image}}", *containers).split())


def read(reader: Reader) -> int:
    """How many lines llama.cpp has read since its container is there."""
    return container_logs(reader.container("vlm")).count("stop processing")


def is_ready(reader: Reader) -> bool:
    try:
        return requests.get(f"{reader.url}/health/ready", timeout=60).status_code == 200
    except requests.ConnectionError:
        return False


def parsing(reader: Reader, folder: Path, out: Path, *, jobs: int = 1) -> subprocess.Popen[str]:
    options = ("--url", reader.url, "--jobs", str(jobs), "--no-pictures", "--json")
    return reader.shop.start("parse", folder, "--output", out, *options)


def parsed(running: subprocess.Popen[str]) -> str:
    """What it printed when it came to its end."""
    said, complained = running.communicate(timeout=600)
    assert running.returncode == 0, complained
    return said


def finished(out: Path) -> set[str]:
    return {
        record.parent.name for record in out.glob(f"*/{RECORD}") if not record.parent.name.startswith(".")
    }


def wait_for(out: Path, count: int, running: subprocess.Popen[str]) -> None:
    """Until so many documents are finished and the batch is at the next."""

    def reached() -> bool:
        assert running.poll() is None, "it ended before it was stopped"
        return len(finished(out)) >= count

    wait_until(reached, f"{count} documents are finished", pause=0.02)


def require_text(folder: Path, made: Document) -> None:
    """Each page has its own text, once, and the whole document all of them in order."""
    pages = sorted((folder / "pages").iterdir())
    assert [page.name for page in pages] == [f"{number:03}" for number in range(1, len(made.pages) + 1)]
    for page, lines in zip(pages, made.lines, strict=True):
        require_lines(page / "page.md", lines, limit=2 * CHARACTERS_WRONG)  # few characters: one weighs more
    require_lines(
        folder / "document.md", [line for page in made.lines for line in page], limit=CHARACTERS_WRONG
    )


def require_lines(markdown: Path, lines: Sequence[str], *, limit: float) -> None:
    text = re.sub(r"^#+ ", "", markdown.read_text("utf-8"), flags=re.MULTILINE)
    measure = characters(text, "\n".join(lines), limit=limit)
    assert measure.ok, f"{markdown}: {measure}"
