"""Places among requests: a short one never waits for a long one, and who goes away takes nothing along."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from turns import Budget, Request, Turns


async def worked(turns: Turns, request: Request, order: list[Request], started: asyncio.Event) -> None:
    async with turns.held_in_loop(request):
        order.append(request)
        started.set()
        await asyncio.sleep(0)


def test_a_short_request_is_served_before_the_rest_of_a_long_one() -> None:
    async def run() -> None:
        turns, started = Turns(1), asyncio.Event()
        order: list[Request] = []
        long, short = Request(), Request()
        tasks = [asyncio.ensure_future(worked(turns, long, order, started)) for _ in range(20)]
        await started.wait()
        tasks.append(asyncio.ensure_future(worked(turns, short, order, started)))
        await asyncio.gather(*tasks)
        assert short in order[:4]

    asyncio.run(run())


@pytest.mark.parametrize("places", [1, 3])
def test_requests_take_turns(places: int) -> None:
    async def run() -> None:
        turns, started = Turns(places), asyncio.Event()
        order: list[Request] = []
        requests = [Request() for _ in range(3)]
        tasks = [
            asyncio.ensure_future(worked(turns, request, order, started))
            for request in requests
            for _ in range(10)
        ]
        await asyncio.gather(*tasks)
        assert Counter(order) == dict.fromkeys(requests, 10)
        middle = Counter(order[places : places + 12])
        assert max(middle.values()) - min(middle.values()) <= places

    asyncio.run(run())


def test_who_goes_away_leaves_no_place_taken() -> None:
    async def run() -> None:
        turns = Turns(1)
        async with turns.held_in_loop(Request()):
            waiting = [asyncio.ensure_future(held(turns)) for _ in range(5)]
            await asyncio.sleep(0)
            for task in waiting[:4]:
                task.cancel()
        await asyncio.wait_for(waiting[4], 10)
        await asyncio.wait_for(held(turns), 10)

    async def held(turns: Turns) -> None:
        async with turns.held_in_loop(Request()):
            pass

    asyncio.run(run())


def test_cancelled_at_the_moment_of_the_grant() -> None:
    """The place was given and the one who asked was cancelled before it ran again."""

    async def run() -> None:
        turns = Turns(1)

        async def held() -> None:
            async with turns.held_in_loop(Request()):
                await asyncio.sleep(0)

        first = asyncio.ensure_future(held())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(held())
        await first
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await asyncio.wait_for(held(), 10)

    asyncio.run(run())


def test_threads_take_turns_one_at_a_time() -> None:
    turns, inside, most = Turns(1), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns.held(Request()):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)


def test_a_budget_is_never_exceeded_and_never_lost() -> None:
    async def run() -> None:
        budget, held, most = Budget(100), 0, 0

        async def take(amount: int) -> None:
            nonlocal held, most
            async with budget.held(amount):
                held += min(amount, 100)
                most = max(most, held)
                try:
                    await asyncio.sleep(0)
                finally:
                    held -= min(amount, 100)

        tasks = [asyncio.ensure_future(take(amount)) for amount in (30, 60, 90, 1000, 1, 100, 50) * 5]
        await asyncio.sleep(0)
        for task in tasks[::4]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 100
        assert budget.take_at_once(100)
        assert not budget.take_at_once(1)

    asyncio.run(run())


def test_nobody_overtakes_who_waits_for_much() -> None:
    async def run() -> None:
        budget = Budget(10)
        assert budget.take_at_once(5)
        waits = asyncio.ensure_future(taken(budget, 10))
        await asyncio.sleep(0)
        assert not budget.take_at_once(1)
        budget.give_back(5)
        await asyncio.wait_for(waits, 10)
        assert budget.take_at_once(10)

    async def taken(budget: Budget, amount: int) -> None:
        async with budget.held(amount):
            pass

    asyncio.run(run())
