"""Sizing a server: the rules on every stack and every card, what is refused, and the file that comes out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import yaml

from paddock import paths
from paddock.door import run
from paddock.errors import ConfigurationError, DataError, UsageError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.images import vlm_configuration
from paddock.matrix.load import load_registry
from paddock.matrix.records import Accelerator, Counts, Variant
from paddock.render.renderer import Renderer
from paddock.render.workspace import differences, write_files
from paddock.stack.envfile import TUNED
from paddock.tuning import profiles, tunedfile
from paddock.tuning.sizing import REQUESTS_PER_DOCUMENT, RESERVE, Tuning, Wish, shares_card, tune

TEMPLATES = paths.templates()
REGISTRY = load_registry(TEMPLATES)
CARDS = profiles.load(TEMPLATES, REGISTRY)
STACKS = [
    each for each in REGISTRY.stacks() if each.model.footprint is not None and each.variant is Variant.ONLINE
]
CLASSES = [each for each in CARDS.values() if each.by_memory]


def fitting(stack):
    """The cards that a stack can be sized for, by what they are."""
    for card in CARDS.values():
        if card.accelerator is not stack.target.accelerator:
            continue
        try:
            yield tune(stack, card, Wish())
        except ConfigurationError as failure:
            assert "compute capability" in failure.message


TUNINGS = [tuning for stack in STACKS for tuning in fitting(stack)]


def named(tuning: Tuning) -> str:
    return f"{tuning.stack.name}-{tuning.profile.name}"


def values(tuning: Tuning) -> dict:
    return {each.option: each.value for each in tuning.settings}


def test_every_target_can_be_tuned():
    assert {each.stack.target.name for each in TUNINGS} == {each.target.name for each in STACKS}
    assert {each.memory for each in CLASSES} == {8, 12, 16, 24, 48, 80}


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_plan_fits_the_card(tuning):
    room = tuning.room
    assert (
        room.layout + room.reserve + room.program + room.weights + room.batch + room.kv <= room.memory + 1e-6
    )
    assert room.reserve >= room.memory * RESERVE - 1e-6
    assert room.layout == (tuning.stack.model.footprint.layout if shares_card(tuning.stack) else 0)


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_one_full_context_has_room(tuning):
    footprint = tuning.stack.model.footprint
    assert tuning.room.kv * 2**30 >= tuning.stack.model.max_context * footprint.kv_per_token


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_share_holds_the_plan_and_leaves_the_layout_model_its_own(tuning):
    option = tuning.stack.backend.tuning.share
    if tuning.stack.target.accelerator is Accelerator.NONE or option is None:
        assert option not in values(tuning)
        return
    room, share = tuning.room, values(tuning)[option]
    given = share * room.memory
    wanted = {
        Counts.SERVER: room.program + room.weights + room.batch + room.kv,
        Counts.STATIC: room.weights + room.kv,
        Counts.CARD: room.program + room.weights + room.batch + room.kv + room.layout,
    }[tuning.stack.backend.tuning.share_counts]
    beside = {
        Counts.SERVER: room.layout,
        Counts.STATIC: room.layout + room.program + room.batch,
        Counts.CARD: 0,
    }[tuning.stack.backend.tuning.share_counts]
    assert given >= wanted - 1e-6
    assert given + beside <= room.memory * (1 - RESERVE) + 1e-6


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_every_value_has_an_origin_and_every_option_is_the_servers(tuning):
    known = tuning.stack.backend.tuning
    options = {known.share, known.context, known.sequences, known.batch}
    assert {each.option for each in tuning.settings} <= options
    assert all(each.origin for each in tuning.settings)
    assert values(tuning)[known.sequences] >= 1
    assert values(tuning)[known.sequences] <= (known.most_sequences or 1024)


def stack(target="cu126", backend=None):
    return REGISTRY.stack(target=target, backend=backend)


def test_a_shared_12_gb_card_gets_what_upstream_gives_it():
    tuning = tune(stack(), CARDS["nvidia-12gb"], Wish())
    assert values(tuning)["gpu-memory-utilization"] == 0.7  # PaddleOCR docs, example for an RTX 3060


def test_a_large_card_is_not_taken_whole():
    tuning = tune(stack(), CARDS["nvidia-80gb"], Wish())
    assert values(tuning)["gpu-memory-utilization"] <= 0.25
    assert values(tuning)["max-num-seqs"] == 8 * REQUESTS_PER_DOCUMENT


def test_more_documents_take_more_memory_until_the_card_is_full():
    shares = [
        values(tune(stack(), CARDS["nvidia-24gb"], Wish(concurrency=number)))["gpu-memory-utilization"]
        for number in (1, 4, 8, 32)
    ]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_a_small_card_takes_smaller_steps():
    batch = [values(tune(stack(), card, Wish()))["max-num-batched-tokens"] for card in sorted_classes()]
    assert batch == sorted(batch)
    assert batch[0] < batch[-1] == 16384


def sorted_classes():
    return sorted(CLASSES, key=lambda card: card.memory)


def test_a_card_of_its_own_has_more_room():
    shared = tune(stack(), CARDS["nvidia-8gb"], Wish())
    alone = tune(stack(), CARDS["nvidia-8gb"], Wish(own_card=True))
    assert alone.room.layout == 0
    assert values(alone)["max-num-seqs"] > values(shared)["max-num-seqs"]


@pytest.mark.parametrize(("card", "share"), [("rtx-3060", 0.8), ("rtx-4090", 0.7), ("a100", 0.7)])
def test_what_fastdeploy_published_is_taken_where_the_server_is_alone(card, share):
    """FastDeploy docs, PaddleOCR-VL: share, 256 requests, steps of 16384, context 16384."""
    tuning = tune(stack(backend="fastdeploy"), CARDS[card], Wish(own_card=True))
    assert values(tuning) == {
        "gpu-memory-utilization": share,
        "max-model-len": 16384,
        "max-num-seqs": 256,
        "max-num-batched-tokens": 16384,
    }
    beside = tune(stack(backend="fastdeploy"), CARDS[card], Wish())
    origin = next(each.origin for each in beside.settings if each.option == "gpu-memory-utilization")
    assert "without a layout model on the card" in origin


def test_llama_divides_its_context_among_the_slots():
    tuning = tune(stack("cpu", "llama.cpp"), CARDS["processor"], Wish(concurrency=2, context=8192))
    assert values(tuning) == {"ctx-size": 16384, "parallel": 2}


def test_offers_have_a_price_and_fit_the_card():
    offered = {
        card: {each.name for each in tune(stack(backend="fastdeploy"), CARDS[card], Wish()).offers}
        for card in ("a100", "nvidia-80gb")
    }
    assert offered["a100"] == {"FD_SAMPLING_CLASS"}  # no Flash Attention 3 on compute capability 8.0
    assert offered["nvidia-80gb"] == {"FD_SAMPLING_CLASS", "FLAGS_flash_attn_version"}  # it may be an H100
    for each in tune(stack(backend="fastdeploy"), CARDS["nvidia-80gb"], Wish()).offers:
        assert each.gain
        assert each.price


# --- what cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(context=20000), "found a context of 20000 tokens, expected at most 16384"),
        (Wish(context=1000), "found a context of 1000 tokens, expected at least 2048"),
        (Wish(memory=6), r"found 6 GiB, expected at least 0\.\d more for layout model 3\.0, reserve"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_reason(wish, message):
    with pytest.raises(ConfigurationError, match=message):
        tune(stack(), CARDS["nvidia-8gb"], wish)


def test_the_memory_that_a_refusal_names_is_enough():
    with pytest.raises(ConfigurationError) as refused:
        tune(stack(), CARDS["nvidia-8gb"], Wish(memory=4))
    least = float(refused.value.hint.split("take a card with ")[1].split(" ")[0])
    assert "--own-card" in refused.value.hint
    tune(stack(), CARDS["nvidia-8gb"], Wish(memory=least))
    with pytest.raises(ConfigurationError):
        tune(stack(), CARDS["nvidia-8gb"], Wish(memory=least - 1))


def test_a_card_of_another_kind_or_generation():
    with pytest.raises(ConfigurationError, match="found a card of the kind ascend, expected nvidia"):
        tune(stack(), CARDS["ascend-910b"], Wish())
    with pytest.raises(ConfigurationError, match=r"found compute capability 8\.9, expected >=12"):
        tune(stack("sm120"), CARDS["rtx-4090"], Wish())


def test_a_model_without_figures():
    whole = stack()
    without = replace(whole, model=replace(whole.model, footprint=None))
    with pytest.raises(ConfigurationError, match=r"found no memory figures of the model paddleocr-vl-1\.6"):
        tune(without, CARDS["nvidia-24gb"], Wish())
    without = replace(whole, backend=replace(whole.backend, tuning=None))
    with pytest.raises(ConfigurationError, match="found no memory figures of the backend vllm"):
        tune(without, CARDS["nvidia-24gb"], Wish())


# --- choosing a card ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "card"), [(8, "nvidia-8gb"), (11, "nvidia-8gb"), (12, "nvidia-12gb"), (141, "nvidia-80gb")]
)
def test_the_class_of_a_memory(memory, card):
    assert profiles.choose(CARDS, REGISTRY.target("cu126"), memory=memory).name == card


def test_a_card_that_is_too_small_for_every_class():
    with pytest.raises(ConfigurationError, match="found 6 GB, expected at least 8"):
        profiles.choose(CARDS, REGISTRY.target("cu126"), memory=6)


def test_no_card_or_an_unknown_one():
    with pytest.raises(UsageError, match="found no card, expected --vram or --card"):
        profiles.choose(CARDS, REGISTRY.target("cu126"))
    with pytest.raises(UsageError, match='unknown card "rtx-409": did you mean "rtx-4090"'):
        profiles.choose(CARDS, REGISTRY.target("cu126"), card="rtx-409")


def test_targets_with_one_kind_of_card_need_no_name():
    for target in REGISTRY.targets.values():
        if target.accelerator is not Accelerator.NVIDIA:
            assert profiles.choose(CARDS, target).accelerator is target.accelerator


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("memroy: 8", "memroy"),
        ("default_for: [nothing]", 'default_for: found "nothing", expected one of'),
        ("compute_capability: new", 'found "new", expected a version'),
        ("settings: {other: {}}", 'settings: found "other", expected one of'),
        ("settings: {vllm: {dtype: {value: 1, origin: x}}}", 'settings.vllm: found "dtype", expected one of'),
    ],
)
def test_profiles_are_read_strictly(tmp_path, line, message):
    folder = tmp_path / "profiles"
    folder.mkdir()
    text = "description: x\naccelerator: nvidia\nmemory: 8\nbatch: {value: 1, origin: x}\n"
    (folder / "small.yaml").write_text(f"{text}{line}\n")
    with pytest.raises(DataError, match=message):
        profiles.load(tmp_path, REGISTRY)


def test_no_profiles_at_all(tmp_path):
    with pytest.raises(ConfigurationError, match="found no data"):
        profiles.load(tmp_path, REGISTRY)


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_file_holds_the_values_and_an_origin_above_each(tuning):
    lines = tunedfile.text(TEMPLATES, tuning, command="paddock tune x").splitlines()
    expected = {**tuning.stack.vlm.settings, **values(tuning)}
    found = {}
    for above, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert above.startswith("# "), line
            name, _, value = line.partition(
                ": " if vlm_configuration(tuning.stack).endswith(".yaml") else " "
            )
            found[name] = value
    assert set(expected) < set(found)
    for name, value in values(tuning).items():
        assert found[name] == str(value)


def test_the_file_says_where_the_memory_goes():
    text = tunedfile.text(TEMPLATES, tune(stack(), CARDS["nvidia-8gb"], Wish()), command="paddock tune x")
    assert "# 8 GiB: layout model 3.0, reserve" in text


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_file_says_what_the_rendered_one_says_but_for_the_tuned_values(tuning):
    name = vlm_configuration(tuning.stack)
    if not name.endswith(".yaml"):
        return
    rendered = next(
        text for path, text in Renderer(TEMPLATES).stack(tuning.stack).items() if path.name == name
    )
    tuned = yaml.safe_load(tunedfile.text(TEMPLATES, tuning, command="paddock tune x"))
    assert tuned == {**yaml.safe_load(rendered), **values(tuning)}


@pytest.fixture
def workspace(tmp_path, monkeypatch, repository):
    """A workspace with the folder of one stack."""
    (tmp_path / "images").mkdir()
    shutil.copytree(repository / "compose" / "cpu", tmp_path / "compose" / "cpu")
    monkeypatch.setenv("PADDOCK_ROOT", str(tmp_path))
    return tmp_path


def test_write_puts_it_into_the_folder_and_render_keeps_it(workspace, capsys):
    assert run(["tune", "cpu", "--concurrency", "1", "--context", "8192", "--write"]) == 0
    path = workspace / "compose/cpu/vlm.yaml"
    text = path.read_text()
    assert text.startswith("# Tuned by `paddock tune cpu --concurrency 1 --context 8192`.\n")
    assert yaml.safe_load(text)["max-model-len"] == 8192
    assert capsys.readouterr().out == ""
    override = workspace / "compose/cpu/compose.override.yaml"
    override.write_text("services: {}\n")
    files = Renderer(TEMPLATES).stack(REGISTRY.stack(target="cpu"))
    write_files(files, workspace)
    assert path.read_text() == text
    assert override.is_file()
    assert not [each for each in differences(files, workspace) if "cpu/" in str(each.path)]
    path.unlink()
    write_files(files, workspace)
    assert yaml.safe_load(path.read_text())["max-model-len"] == 16384


def test_no_committed_file_is_a_tuned_one(repository):
    checked = [path for path in (repository / "compose").rglob("vlm.*") if path.is_file()]
    assert len(checked) >= 4
    assert not [path for path in checked if path.read_text().startswith(TUNED)]


def test_the_command_prints_json_and_cards(capsys):
    assert run(["tune", "cu126", "--vram", "12", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["card"] == "nvidia-12gb"
    assert printed["settings"]["gpu-memory-utilization"]["value"] == 0.7
    assert run(["tune", "--list", "--json"]) == 0
    assert {each["card"] for each in json.loads(capsys.readouterr().out)["cards"]} == set(CARDS)


def test_exit_codes(capsys):
    assert run(["tune", "cu126"]) == 2
    assert run(["tune"]) == 2
    assert run(["tune", "cu126", "--vram", "6"]) == 3
    assert "expected at least 8" in capsys.readouterr().err


def test_settings_keep_the_order_of_the_target():
    tuned = tune(stack(), CARDS["nvidia-12gb"], Wish()).tuned_stack()
    assert list(tuned.vlm.settings)[: len(stack().vlm.settings)] == list(stack().vlm.settings)
    assert isinstance(tuned.vlm.settings, FrozenDict)
