"""Sizing a server: the rules on every stack and every card, worked examples, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock.errors import ConfigurationError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Accelerator, Footprint, Stack
from paddock.tuning.memory import RESERVE
from paddock.tuning.sizing import REQUESTS_PER_DOCUMENT, Tuning, Wish, shares_card, tune
from tunings import CARDS, REGISTRY, STACKS, every, values

TUNINGS = every()
CLASSES = sorted((card for card in CARDS.values() if card.by_memory), key=lambda card: card.memory)


def footprint(tuning: Tuning) -> Footprint:
    assert tuning.stack.model.footprint is not None
    return tuning.stack.model.footprint


def test_every_target_can_be_tuned() -> None:
    tuned = {tuning.stack.target.name for tuning in TUNINGS.values()}
    assert tuned == {stack.target.name for stack in STACKS}
    assert [card.memory for card in CLASSES] == [8, 12, 16, 24, 48, 80]


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_the_plan_fits_the_card(tuning: Tuning) -> None:
    room = tuning.room
    assert room.layout + room.reserve + room.server <= room.memory + 1e-6
    assert room.reserve >= room.memory * RESERVE - 1e-6
    assert room.layout == (footprint(tuning).layout if shares_card(tuning.stack) else 0)


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_one_full_context_has_room(tuning: Tuning) -> None:
    context = tuning.stack.model.max_context
    assert tuning.room.kv * 2**30 >= context * footprint(tuning).kv_per_token


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_a_share_is_given_on_cards_only_and_leaves_the_reserve(tuning: Tuning) -> None:
    assert tuning.stack.backend.tuning is not None
    option = tuning.stack.backend.tuning.share
    if tuning.stack.target.accelerator is Accelerator.NONE or option is None:
        assert option not in values(tuning)
    else:
        assert 0 < float(values(tuning)[option]) <= 1 - RESERVE


@pytest.mark.parametrize(
    ("backend", "memory", "share", "requests"),
    [
        # vLLM's share is all that the server takes. 12 - 5 % - 3 for the layout model = 8.4 = 0.7 of 12; less
        # program 1.0, weights 1.9 and step 2.0, 3.5 are left: 99 requests of 2048 tokens, 36 MiB each.
        ("vllm", 12, 0.7, 99),
        # 256 requests need 9.0: 1.0 + 1.9 + 2.0 + 9.0 = 13.9 = 0.58 of 24, rounded up.
        ("vllm", 24, 0.6, 256),
        # SGLang's share is weights and cache only: 1.9 + 9.0 = 10.9 = 0.45 of 24, rounded up.
        ("sglang", 24, 0.5, 256),
        # FastDeploy's is the whole card: 12 - 5 % = 11.4 = 0.95 of 12; less 3 for the layout model, program
        # 1.5, weights 1.9 and step 2.0, 3.0 are left: 85 requests.
        ("fastdeploy", 12, 0.95, 85),
    ],
)
def test_worked_examples(backend: str, memory: int, share: float, requests: int) -> None:
    tuning = tune(stack(backend=backend), CARDS[f"nvidia-{memory}gb"], Wish())
    known = tuning.stack.backend.tuning
    assert known is not None
    assert known.share is not None
    assert (values(tuning)[known.share], values(tuning)[known.sequences]) == (share, requests)


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_every_value_has_an_origin_and_every_option_is_the_servers(tuning: Tuning) -> None:
    known = tuning.stack.backend.tuning
    assert known is not None
    assert set(values(tuning)) <= {known.share, known.context, known.sequences, known.batch}
    assert all(setting.origin for setting in tuning.settings)
    assert 1 <= int(values(tuning)[known.sequences]) <= (known.most_sequences or 1024)


def stack(target: str = "cu126", backend: str | None = None) -> Stack:
    return REGISTRY.stack(target=target, backend=backend)


def test_a_shared_12_gb_card_gets_what_upstream_gives_it() -> None:
    tuning = tune(stack(), CARDS["nvidia-12gb"], Wish())
    assert values(tuning)["gpu-memory-utilization"] == 0.7  # PaddleOCR docs, example for an RTX 3060


def test_a_large_card_is_not_taken_whole() -> None:
    tuning = tune(stack(), CARDS["nvidia-80gb"], Wish())
    assert float(values(tuning)["gpu-memory-utilization"]) <= 0.25
    assert values(tuning)["max-num-seqs"] == 8 * REQUESTS_PER_DOCUMENT


def test_more_documents_take_more_memory_until_the_card_is_full() -> None:
    shares = [
        float(values(tune(stack(), CARDS["nvidia-24gb"], Wish(concurrency=number)))["gpu-memory-utilization"])
        for number in (1, 4, 8, 32)
    ]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_a_small_card_takes_smaller_steps() -> None:
    batch = [int(values(tune(stack(), card, Wish()))["max-num-batched-tokens"]) for card in CLASSES]
    assert batch == sorted(batch)
    assert batch[0] < batch[-1] == 16384


def test_a_card_of_its_own_has_more_room() -> None:
    shared = tune(stack(), CARDS["nvidia-8gb"], Wish())
    alone = tune(stack(), CARDS["nvidia-8gb"], Wish(own_card=True))
    assert alone.room.layout == 0
    assert int(values(alone)["max-num-seqs"]) > int(values(shared)["max-num-seqs"])


@pytest.mark.parametrize(("card", "share"), [("rtx-3060", 0.8), ("rtx-4090", 0.7), ("a100", 0.7)])
def test_what_fastdeploy_published_is_taken_where_the_server_is_alone(card: str, share: float) -> None:
    """FastDeploy docs, PaddleOCR-VL: share, 256 requests, steps of 16384, context 16384."""
    tuning = tune(stack(backend="fastdeploy"), CARDS[card], Wish(own_card=True))
    assert values(tuning) == {
        "gpu-memory-utilization": share,
        "max-model-len": 16384,
        "max-num-seqs": 256,
        "max-num-batched-tokens": 16384,
    }
    beside = tune(stack(backend="fastdeploy"), CARDS[card], Wish())
    origin = next(setting.origin for setting in beside.settings if setting.option == "gpu-memory-utilization")
    assert "without a layout model on the card" in origin


def test_llama_divides_its_context_among_the_slots() -> None:
    tuning = tune(stack("cpu", "llama.cpp"), CARDS["processor"], Wish(concurrency=2, context=8192))
    assert values(tuning) == {"ctx-size": 16384, "parallel": 2}


def test_offers_have_a_price_and_fit_the_card() -> None:
    offered = {
        card: {offer.name for offer in tune(stack(backend="fastdeploy"), CARDS[card], Wish()).offers}
        for card in ("a100", "nvidia-80gb")
    }
    assert offered["a100"] == {"FD_SAMPLING_CLASS"}  # no Flash Attention 3 on compute capability 8.0
    assert offered["nvidia-80gb"] == {"FD_SAMPLING_CLASS", "FLAGS_flash_attn_version"}  # it may be an H100
    for offer in tune(stack(backend="fastdeploy"), CARDS["nvidia-80gb"], Wish()).offers:
        assert offer.gain
        assert offer.price


# --- what cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(context=20000), "found a context of 20000 tokens, expected at most 16384"),
        (Wish(context=1000), "found a context of 1000 tokens, expected at least 2048"),
        (Wish(memory=6), r"found 6 GiB, expected at least 0\.\d more for layout model 3\.0, reserve"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_reason(wish: Wish, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tune(stack(), CARDS["nvidia-8gb"], wish)


def test_the_memory_that_a_refusal_names_is_enough() -> None:
    with pytest.raises(ConfigurationError) as refused:
        tune(stack(), CARDS["nvidia-8gb"], Wish(memory=4))
    least = float(refused.value.hint.split("take a card with ")[1].split(" ")[0])
    assert "--own-card" in refused.value.hint
    tune(stack(), CARDS["nvidia-8gb"], Wish(memory=least))
    with pytest.raises(ConfigurationError):
        tune(stack(), CARDS["nvidia-8gb"], Wish(memory=least - 1))


def test_a_card_of_another_kind_or_generation() -> None:
    with pytest.raises(ConfigurationError, match="found a card of the kind ascend, expected nvidia"):
        tune(stack(), CARDS["ascend-910b"], Wish())
    with pytest.raises(ConfigurationError, match=r"found compute capability 8\.9, expected >=12"):
        tune(stack("sm120"), CARDS["rtx-4090"], Wish())


def test_a_model_without_figures() -> None:
    whole = stack()
    without = replace(whole, model=replace(whole.model, footprint=None))
    with pytest.raises(ConfigurationError, match=r"found no memory figures of the model paddleocr-vl-1\.6"):
        tune(without, CARDS["nvidia-24gb"], Wish())
    without = replace(whole, backend=replace(whole.backend, tuning=None))
    with pytest.raises(ConfigurationError, match="found no memory figures of the backend vllm"):
        tune(without, CARDS["nvidia-24gb"], Wish())


def test_settings_keep_the_order_of_the_target() -> None:
    tuned = tune(stack(), CARDS["nvidia-12gb"], Wish()).tuned_stack()
    assert list(tuned.vlm.settings)[: len(stack().vlm.settings)] == list(stack().vlm.settings)
    assert isinstance(tuned.vlm.settings, FrozenDict)
