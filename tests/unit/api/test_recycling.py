"""When a worker of a site ends by itself, and whose turn it is."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import recycling
from recycling import Recycling, Turn


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "LOOK_EVERY", 0.01)


async def ready() -> tuple[bool, dict[str, Any]]:
    return True, {"ready": True}


def worker(
    folder: Path, name: str = "one", *, memory: int = 0, pages: int = 0, drain: float = 0.0
) -> Recycling:
    return Recycling(memory=memory, pages=pages, drain=drain, turn=Turn(folder, name))


async def ended_within(watched: Recycling, seconds: float) -> bool:
    """Whether a worker asks to be ended within some time."""
    ended = asyncio.Event()
    watching = asyncio.ensure_future(watched.watch(ready, ended.set))
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        watching.cancel()
        return False
    return True


def test_turns(tmp_path: Path) -> None:
    one, two = Turn(tmp_path, "one"), Turn(tmp_path, "two")
    assert one.take()
    assert one.take(), "it may be taken again"
    assert not two.take()
    two.give_back()
    assert not two.take(), "another one cannot give it back"
    one.give_back()
    assert two.take()


def test_a_turn_of_one_who_never_comes_back_ends(tmp_path: Path) -> None:
    one, two = Turn(tmp_path, "one"), Turn(tmp_path, "two")
    assert one.take()
    long_ago = time.time() - recycling.TURN_LASTS - 1
    os.utime(tmp_path / "turn", (long_ago, long_ago))
    assert two.take()
    assert not one.take()


def test_without_limits_nothing_is_watched(tmp_path: Path) -> None:
    asyncio.run(worker(tmp_path).watch(ready, pytest.fail))


def test_a_worker_that_read_enough_ends_once_and_is_counted(tmp_path: Path) -> None:
    watched = worker(tmp_path, pages=3)
    watched.pages = 2
    assert not asyncio.run(ended_within(watched, 0.2))
    assert watched.leaving == ""
    watched.pages = 3
    assert asyncio.run(ended_within(watched, 5))
    assert watched.leaving == "it is being recycled: it has read 3 pages (API_RECYCLE_PAGES)"
    assert watched.count == 1
    assert worker(tmp_path).count == 1, "the next process of this container knows"
    assert worker(tmp_path, "two").count == 0


def test_a_worker_that_grew_ends(tmp_path: Path) -> None:
    assert recycling.memory_held() > 1_000_000
    watched = worker(tmp_path, memory=1_000_000)
    assert asyncio.run(ended_within(watched, 5))
    assert "bytes of memory (API_RECYCLE_MEMORY)" in watched.leaving


def test_one_at_a_time(tmp_path: Path) -> None:
    """The next one ends when the first is back and ready, not before."""
    first, second = worker(tmp_path, "one", pages=1), worker(tmp_path, "two", pages=1)
    first.pages = second.pages = 1
    assert asyncio.run(ended_within(first, 5))
    assert not asyncio.run(ended_within(second, 0.2))
    assert second.leaving == ""
    assert not asyncio.run(ended_within(worker(tmp_path, "one", pages=1), 0.1)), (
        "it is back, and has read nothing"
    )
    assert asyncio.run(ended_within(second, 5))


def test_a_worker_that_is_to_end_is_not_ready_and_takes_requests_for_a_while(tmp_path: Path) -> None:
    watched = worker(tmp_path, pages=1, drain=0.3)
    watched.pages = 1
    asked = watched.over(ready)

    async def run() -> float:
        assert await asked() == (True, {"ready": True})
        begun = time.monotonic()
        assert await ended_within(watched, 5)
        healthy, answer = await asked()
        assert (healthy, answer["ready"]) == (False, False)
        return time.monotonic() - begun

    assert asyncio.run(run()) >= 0.3


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def test_a_stack_without_a_door_waits_for_nobody(tmp_path: Path) -> None:
    serving = recycling.Server(uvicorn.Config(application), worker(tmp_path), ready)
    serving.handle_exit(15, None)
    assert serving.should_exit


def test_a_site_s_worker_goes_on_until_the_door_has_seen_it(tmp_path: Path) -> None:
    watched = worker(tmp_path, drain=0.2)
    serving = recycling.Server(uvicorn.Config(application), watched, ready)

    async def run() -> list[bool]:
        serving.handle_exit(15, None)
        at_first = serving.should_exit
        await asyncio.sleep(0.4)
        return [at_first, serving.should_exit]

    assert asyncio.run(run()) == [False, True]
    assert watched.leaving == "it is being stopped"


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    serving = recycling.Server(uvicorn.Config(application), worker(tmp_path, drain=60), ready)

    async def run() -> None:
        serving.handle_exit(15, None)
        serving.handle_exit(15, None)

    asyncio.run(run())
    assert serving.should_exit
