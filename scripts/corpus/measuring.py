"""Goes through the corpus file by file, remembers what is known, and writes the summary."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import version
from multiprocessing import forkserver
from pathlib import Path

import packages
from answers import by_the_client, by_the_server
from documents import Reader
from gather import CORPUS, FILES, REPOSITORY, say
from limits import Limits
from paddock.errors import PreflightError
from paddock.parse import document
from references import Reference, reference
from summary import SUMMARY, WAYS, Entry, entry_of, summary
from verdicts import verdict

RESULTS = CORPUS / "results.jsonl"
LIBRARIES = ("numpy", "pillow", "pi-heif", "pypdf", "pypdfium2")
CODE = ("scripts/corpus", "templates/image/api", "tool/paddock/parse")
TOLD_EVERY = 20.0  # seconds
FONT = Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc")  # that of the image api
HEAD = 1024  # bytes that say which kind a file is


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to measure, and how."""

    files: tuple[Path, ...]
    jobs: int
    pages: int
    whole: bool


def main() -> int:
    """Measure, say what is wrong, and return 1 if anything is.

    Raises PreflightError where the font of the image is missing: a PDF without its fonts would be drawn
    without its text.
    """
    if not FONT.is_file():
        raise PreflightError(
            f"{FONT}: found no such font, expected the one of the image api",
            hint="apt-get install fonts-wqy-microhei",
        )
    plan = _plan()
    code = fingerprint(plan.pages)
    known = _known(code)
    missing = [path for path in plan.files if _name(path) not in known]
    say(f"{len(plan.files)} files, {len(missing)} of them not measured yet")
    if missing:
        asyncio.run(_measure(missing, plan, code))
    known = _known(code)
    entries = [known[_name(path)] for path in plan.files]
    about = {"date": time.strftime("%Y-%m-%d"), "libraries": _libraries(), "pages": plan.pages}
    told = summary(entries, packages.read(), about)
    if plan.whole:
        SUMMARY.write_text(told, "utf-8")
    for finding in json.loads(told)["findings"]:
        sys.stdout.write(f"{finding['file']}: {finding['way']}: {finding['found']}\n")
    return int(bool(json.loads(told)["findings"]))


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description="Send the corpus through paddock's readers.")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (default: 2)")
    parser.add_argument("--pages", type=int, default=3, help="pages of a file that are compared (default: 3)")
    parser.add_argument("--every", type=int, default=1, help="every N-th file only (default: 1)")
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="only files whose PACKAGE/NAME fits one"
    )
    chosen = parser.parse_args()
    folders = (packages.folder_of(registry, package) for registry, package in packages.read().each())
    files = sorted(path for folder in folders for path in (FILES / folder).iterdir())
    asked = [path for path in files if fits(_name(path), chosen.patterns)][:: chosen.every]
    return Plan(
        files=tuple(asked),
        jobs=chosen.jobs,
        pages=chosen.pages,
        whole=chosen.every == 1 and not chosen.patterns,
    )


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file is asked for."""
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns)


def _name(path: Path) -> str:
    return path.relative_to(FILES).as_posix()


# --- what is known already ----------------------------------------------------------------------------------


def fingerprint(pages: int) -> str:
    """Changes with everything that a result depends on: code, libraries, pages."""
    digest = hashlib.sha256(json.dumps([_libraries(), pages]).encode())
    for folder in CODE:
        for path in sorted((REPOSITORY / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _libraries() -> Mapping[str, str]:
    return {name: version(name) for name in LIBRARIES}


def _known(code: str) -> dict[str, Entry]:
    """What is measured with this code. A line that was cut off by a kill counts for nothing."""
    known = {}
    for line in RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else ():
        try:
            read = json.loads(line)
        except ValueError:
            continue
        if read["code"] == code:
            found = entry_of(read["entry"])
            known[found.name] = found
    return known


# --- measuring ----------------------------------------------------------------------------------------------


async def _measure(files: Sequence[Path], plan: Plan, code: str) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["decoder", "references"])
    forkserver.ensure_running()
    reader = Reader(Limits())
    turns = asyncio.Semaphore(plan.jobs)
    began = told = time.monotonic()
    done = 0
    with RESULTS.open("a", encoding="utf-8") as results:
        results.write("\n")  # ends a line that was cut off

        async def one(path: Path) -> None:
            nonlocal done, told
            async with turns:
                seen = await asyncio.to_thread(reference, processes, path, plan.pages)
                measured = await _entry(reader, path, seen, plan.pages)
            results.write(json.dumps({"code": code, "entry": measured.as_json()}) + "\n")
            results.flush()
            done += 1
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                say(f"{done} of {len(files)} files, {told - began:.0f} s")

        await asyncio.gather(*(one(path) for path in files))


async def _entry(reader: Reader, path: Path, seen: Reference, most: int) -> Entry:
    sent = await by_the_client(reader, path, most)
    answers = [sent.answer]
    data = path.read_bytes()
    if not sent.as_it_is and document.kind_of(data[:HEAD]):
        answers.append(await by_the_server(reader, data, most))
    return Entry(
        name=_name(path),
        pages=seen.count,
        compared=len(seen.pages),
        words=sum(page.words for page in seen.pages if not isinstance(page, str)),
        problem=seen.problem,
        verdicts={way: verdict(seen, answer) for way, answer in zip(WAYS, answers, strict=False)},
    )
