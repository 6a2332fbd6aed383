"""The benchmarks of `make bench`, in the order of what they cost. docs/guides/performance.md has the method.

They fail when they could not measure, when a request failed, or when both sides did not do the same work; a
missed goal is printed and written, and fails nothing: it depends on the machine.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from paddock import paths
from paddock.building.settings import BuildSettings
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack
from paddock.render.renderer import Renderer
from programs import paddock

from . import images, pages
from .conftest import Plan, upstream_service
from .figures import Book, Figure, Goal
from .images import Pair, Say
from .stacks import Batch, Service, parse_all, request_of, running_side_by_side, seconds_to_first_page

OUT_OF_DATE = 4  # exit status of `paddock render --check` that found a difference; the work is the same
GB = 1e9


def test_render_of_everything(book: Book, repository: Path) -> None:
    """`paddock render --check` reads the data, renders and compares; as a program and inside one."""
    as_program, inside = [], []
    for _ in range(5):
        begin = time.monotonic()
        done = paddock("render", "--check", cwd=repository)
        as_program.append(time.monotonic() - begin)
        assert done.returncode in (0, OUT_OF_DATE), done.stderr
        begin = time.monotonic()
        files = Renderer(paths.templates()).all(load_registry(paths.templates()))
        inside.append(time.monotonic() - begin)
        assert files
    book.add(_seconds("render of everything, as a program", as_program, Goal(bound="under", limit=1)))
    book.add(_seconds("render of everything, without starting Python", inside, None))


def test_size(
    book: Book, stack: Stack, build_settings: BuildSettings, our_images: Pair, repository: Path, say: Say
) -> None:
    """Our two images against a plain build of the same packages, which no load of the machine changes."""
    small = images.sizes(our_images, stack.vlm.image.base.image)
    with images.plain_build(stack, build_settings, repository, say) as (plain, base):
        large = images.sizes(plain, base)
    goal = Goal(bound="at most", limit=0.75)
    note = (
        "uncompressed, as the engine stores them; the base that both images share counted once on each side"
    )
    book.add(_gigabytes("size of both images", small.total, large.total, goal, note))
    book.add(_gigabytes("size of the pipeline API's image", small.api, large.api, None))
    book.add(_gigabytes("size of the VLM server's image", small.vlm, large.vlm, None))


def test_throughput(
    book: Book, our_service: Service, our_images: Pair, models_dir: Path, plan: Plan, say: Say
) -> None:
    """The same pages through both pipeline APIs, in turns; the one that is not measured is frozen."""
    bodies = [request_of(pages.page(number)) for number in range(plan.pages)]
    upstream = upstream_service(our_images, models_dir, plan)
    ours: list[Batch] = []
    theirs: list[Batch] = []
    with running_side_by_side(our_service, upstream):
        for turn in range(plan.rounds + 1):  # the first is for warming up
            for here, other, batches in ((our_service, upstream, ours), (upstream, our_service, theirs)):
                with other.paused():
                    batches.append(parse_all(here, bodies, concurrency=plan.concurrency))
                done = f"{len(bodies)} pages, {batches[-1].blocks} blocks, {batches[-1].seconds:.1f} s"
                say(f"{here.project}, {f'turn {turn}' if turn else 'warming up'}: {done}")
    assert {batch.blocks for batch in ours} == {batch.blocks for batch in theirs}, "both sides did other work"
    ours_seconds, theirs_seconds = ([batch.seconds for batch in times[1:]] for times in (ours, theirs))
    book.add(
        Figure(
            name=f"{plan.pages} one-page images at concurrency {plan.concurrency}",
            unit="s",
            ours=ours_seconds,
            theirs=theirs_seconds,
            value=statistics.median(theirs_seconds) / statistics.median(ours_seconds),
            value_unit="times the throughput",
            goal=Goal(bound="at least", limit=2.5),
            note="the same two images on both sides; upstream's takes one request at a time, as PaddleX does",
        )
    )


def test_time_to_first_page(
    book: Book, our_service: Service, our_images: Pair, models_dir: Path, plan: Plan, say: Say
) -> None:
    """From `up` to the first parsed page, in turns; the first start of each reads its files from the disk."""
    body = request_of(pages.small_page())
    samples: dict[str, list[float]] = {"ours": [], "no byte code": [], "with byte code": []}
    with images.without_byte_code(our_images, say) as bare:
        services = {
            "ours": our_service,
            "no byte code": upstream_service(bare, models_dir, plan),
            "with byte code": upstream_service(our_images, models_dir, plan),
        }
        for turn in range(plan.starts):
            for name, service in services.items():
                seconds = seconds_to_first_page(service, body)
                say(f"{service.project} ({name}), start {turn + 1}: first page after {seconds:.1f} s")
                samples[name].append(seconds)
    for name, goal, note in (
        ("no byte code", Goal(bound="at most", limit=0.6), "images without any .pyc, health-gated start"),
        (
            "with byte code",
            None,
            "our own images, health-gated start: what the order of starting alone costs",
        ),
    ):
        book.add(
            Figure(
                name=f"up to first page, upstream's {name}",
                unit="s",
                ours=samples["ours"],
                theirs=samples[name],
                value=statistics.median(samples["ours"]) / statistics.median(samples[name]),
                goal=goal,
                note=note,
            )
        )


def _seconds(name: str, samples: list[float], goal: Goal | None) -> Figure:
    return Figure(
        name=name, unit="s", ours=samples, value=statistics.median(samples), value_unit="s", goal=goal
    )


def _gigabytes(name: str, ours: int, theirs: int, goal: Goal | None, note: str = "") -> Figure:
    return Figure(
        name=name,
        unit="GB",
        ours=[ours / GB],
        theirs=[theirs / GB],
        value=ours / theirs,
        goal=goal,
        note=note,
    )
