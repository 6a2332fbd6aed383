"""The arithmetic of a card on round figures: 16384 tokens are 1 GiB of KV cache, and a step of 2 GiB."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock.matrix.records import Counts, Footprint
from paddock.tuning.memory import Card, Room

STEP = CONTEXT = 16384
FOOTPRINT = Footprint(weights=2.0, kv_per_token=2**16, batch_per_token=2**17, request_tokens=2048, layout=3.0)


def card(counts: Counts | None = Counts.SERVER, *, memory: float = 16.0, layout: float = 3.0) -> Card:
    return Card(memory=memory, layout=layout, program=1.0, footprint=FOOTPRINT, counts=counts)


# 16 GiB - 5 % reserve - 3 for the layout model = 12.2 usable.
ROOMS = [
    (
        Counts.SERVER,
        0.75,
        1.0,
        7.0,
    ),  # 12.2 / 16 = 0.7625, rounded down: 12.0 for program, weights, step and cache
    (Counts.STATIC, 0.55, 1.2, 6.8),  # (12.2 - 3.0) / 16 = 0.575, rounded down: 8.8 for weights and cache
    (Counts.CARD, 0.95, 0.8, 7.2),  # (12.2 + 3.0) / 16 = 0.95: 15.2 for all of them
]


@pytest.mark.parametrize(("counts", "share", "reserve", "kv"), ROOMS)
def test_the_cache_gets_what_the_rounded_share_leaves(
    counts: Counts, share: float, reserve: float, kv: float
) -> None:
    room = card(counts).room(STEP)
    assert (room.layout, room.program, room.weights, room.batch) == (3.0, 1.0, 2.0, 2.0)
    assert (room.reserve, room.kv) == pytest.approx((reserve, kv))
    assert card(counts).share(room) == card(counts).largest_share(room) == share
    assert room.layout + room.reserve + room.server == pytest.approx(16.0)


def test_a_server_without_a_share_gets_all_that_is_usable() -> None:
    room = card(None).room(STEP)
    assert (room.reserve, room.kv) == pytest.approx((0.8, 7.2))


@pytest.mark.parametrize(
    ("counts", "covered", "share"),
    [
        (Counts.SERVER, 8.0, 0.5),  # program 1 + weights 2 + step 2 + cache 3
        (Counts.STATIC, 5.0, 0.35),  # weights 2 + cache 3: 0.3125, rounded up
        (Counts.CARD, 11.0, 0.7),  # the server's 8 and the layout model's 3: 0.6875, rounded up
    ],
)
def test_a_smaller_cache_needs_a_smaller_share(counts: Counts, covered: float, share: float) -> None:
    room = replace(card(counts).room(STEP), kv=3.0)
    assert card(counts).covered(room) == pytest.approx(covered)
    assert card(counts).share(room) == share


@pytest.mark.parametrize(
    ("published", "kv", "holds"),
    [
        (0.6, 4.6, True),  # 9.6 - 1 - 2 - 2
        (0.75, 7.0, True),
        (0.9, 7.0, False),  # would take what the layout model needs
    ],
)
def test_a_published_share_is_kept_to_where_it_leaves_the_others_their_own(
    published: float, kv: float, holds: bool
) -> None:
    known = replace(card(), published_share=published)
    room = known.room(STEP)
    assert room.kv == pytest.approx(kv)
    assert known.published_fits(room) is holds


@pytest.mark.parametrize(
    ("context", "step", "kv"),
    [
        (16384, 2.0, 2.6),  # 8 - 5 % = 7.6, less 1 and 2 and the step of 2: more than the 1 that is wanted
        (65536, 0.5, 4.1),  # 4 are wanted: after two halvings
        (100000, 0.25, 4.35),  # 6.1 are wanted, and the least step leaves less
    ],
)
def test_the_step_is_halved_until_one_context_has_room(context: int, step: float, kv: float) -> None:
    room = card(memory=8.0, layout=0.0).roomiest(STEP, context)
    assert (room.batch, room.kv) == pytest.approx((step, kv))


def test_the_least_memory_is_the_first_that_has_room() -> None:
    """100000 tokens need 6.1 GiB, and 3.25 beside them: 9.35. A share of 0.95 is 8.55 of 9 GiB, 9.5 of 10."""
    assert card(memory=8.0, layout=0.0).least_memory(100000) == 10


def test_tokens_of_the_cache() -> None:
    assert card().kv(CONTEXT) == 1.0


def test_a_room_in_words_leaves_out_what_is_not_there() -> None:
    room = Room(memory=8, layout=0, reserve=0.4, program=1, weights=2, batch=2, kv=2.6)
    assert str(room) == "8 GiB: reserve 0.4, program 1.0, weights 2.0, one step 2.0, KV cache 2.6"
