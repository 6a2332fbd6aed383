"""The registry: what it reads, which stacks it gives, and what it refuses with which reason.

Each folder of tests/cases/registry but `base` holds files that are laid over `base`, `expected.txt` with
the refusal and its hint, and, where the data itself is right, `request.json` with the stack that is asked
for.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from paddock import paths
from paddock.errors import ConfigurationError, DataError, PaddockError, UsageError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Accelerator, Driver, NvidiaCards, Platform, Stack, Variant, WeightsRole
from paddock.matrix.registry import Registry
from repository import REPOSITORY

CASES = REPOSITORY / "tests/cases/registry"
BASE = CASES / "base"
REFUSALS = sorted(folder for folder in CASES.iterdir() if folder != BASE)


@pytest.fixture(scope="module")
def example() -> Registry:
    return load_registry(BASE)


@pytest.fixture(scope="module")
def ours() -> Registry:
    return load_registry(paths.templates())


def ask(known: Registry, request: dict[str, str]) -> Stack:
    variant = Variant(request.get("variant", "online"))
    return known.stack(
        target=request["target"], backend=request.get("backend"), model=request.get("model"), variant=variant
    )


def refusal(failure: PaddockError, root: Path) -> str:
    text = failure.message if not isinstance(failure, DataError) else str(failure)
    hint = f"\nhint: {failure.hint}" if failure.hint else ""
    return f"{text}{hint}\n".replace(f"{root}/", "")


def load_and_ask(root: Path, case: Path) -> None:
    known = load_registry(root)
    ask(known, json.loads((case / "request.json").read_text()))


def test_there_are_refusals() -> None:
    assert len(REFUSALS) > 25


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusal(case: Path, tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    shutil.copytree(case, tmp_path, dirs_exist_ok=True)
    with pytest.raises((UsageError, ConfigurationError)) as caught:
        load_and_ask(tmp_path, case)
    assert refusal(caught.value, tmp_path) == (case / "expected.txt").read_text(encoding="utf-8")
    assert isinstance(caught.value, DataError) is not (case / "request.json").exists()


def test_unknown_names_are_usage_errors(example: Registry) -> None:
    for request in (
        {"target": "plian"},
        {"target": "plain", "backend": "x"},
        {"target": "plain", "model": "x"},
    ):
        with pytest.raises(UsageError):
            ask(example, request)


def test_impossible_pairs_are_configuration_errors(example: Registry) -> None:
    with pytest.raises(ConfigurationError):
        example.stack(target="card", backend="small")


def test_defaults(example: Registry) -> None:
    stack = example.stack(target="plain")
    assert (stack.target.name, stack.backend.name, stack.model.name) == ("plain", "swift", "document-2")
    assert stack.variant is Variant.ONLINE
    assert stack.name == "plain"


def test_a_model_brings_the_backend_that_can_serve_it(example: Registry) -> None:
    assert example.stack(target="card", model="document-card").backend.name == "carded"
    assert example.stack(target="plain", model="talk").name == "plain-small-talk"


def test_offline_in_the_name_of_the_target_is_the_variant(example: Registry) -> None:
    assert example.stack(target="plain-offline") == example.stack(target="plain", variant=Variant.OFFLINE)
    assert example.stack(target="plain-offline").name == "plain-offline"


def test_stacks_are_every_target_with_each_backend_in_both_variants(example: Registry) -> None:
    # carded does not serve document-2, the default model of card: the first model that it serves stands in.
    assert [stack.name for stack in example.stacks()] == [
        "alone",
        "alone-offline",
        "card",
        "card-offline",
        "card-carded-document-card",
        "card-carded-document-card-offline",
        "plain",
        "plain-offline",
        "plain-small",
        "plain-small-offline",
    ]


def test_a_target_without_a_pipeline_api_serves_a_model_alone(example: Registry) -> None:
    stack = example.stack(target="alone")
    assert stack.target.api is None
    assert stack.model.pipeline is None


def test_what_another_target_needs_fits_the_schema(example: Registry) -> None:
    card = example.target("card")
    assert card.accelerator is Accelerator.NVIDIA
    assert card.platforms == (Platform.AMD64,)
    assert card.cards == NvidiaCards(
        accelerator=Accelerator.NVIDIA,
        driver=Driver(minimum="575.51", reason="CUDA 12.9"),
        compute_capability=">=12.0",
    )
    assert card.api is not None and card.api.device == "gpu"
    assert card.api.image.pins["parser"] == "3.7.2"
    assert card.backends["carded"].image.base.provides == {"carded": "0.23.0rc1"}


def test_pins_of_one_platform_go_before_the_common_ones(example: Registry) -> None:
    api = example.target("plain").api
    assert api is not None
    assert api.image.pins_on(Platform.AMD64) == {"parser": "3.7.2", "engine": "3.3.1"}
    assert api.image.pins_on(Platform.ARM64) == {"parser": "3.7.2", "engine": "3.2.2"}


def test_pre_releases_count_for_requirements(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    talk = tmp_path / "models" / "talk.yaml"
    talk.write_text(talk.read_text().replace("requires: {}", 'requires: {carded: ">=0.22"}'))
    assert load_registry(tmp_path).stack(target="alone").model.requires == {"carded": ">=0.22"}


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="targets: found no data"):
        load_registry(tmp_path)


# --- our own data -------------------------------------------------------------------------------------------


def test_the_cpu_target(ours: Registry) -> None:
    stack = ours.stack(target="cpu", backend=None, model=None, variant=Variant.ONLINE)
    assert (stack.backend.name, stack.model.name, stack.name) == ("vllm", "paddleocr-vl-1.6", "cpu")
    assert set(stack.target.platforms) == set(Platform)
    assert set(stack.target.backends) == {"vllm", "llama.cpp"}


@pytest.mark.parametrize("backend", ["vllm", "llama.cpp"])
@pytest.mark.parametrize("model", ["paddleocr-vl", "paddleocr-vl-1.5", "paddleocr-vl-1.6"])
def test_every_model_runs_on_every_backend_of_cpu(ours: Registry, model: str, backend: str) -> None:
    stack = ours.stack(target="cpu", backend=backend, model=model)
    weights = stack.model.weight_set(stack.backend.weights_role)
    assert weights is not None
    assert weights.name.endswith("-GGUF") is (backend == "llama.cpp")


def test_names_that_belong_together(ours: Registry) -> None:
    """PaddleX strips -0.9B from a model's name to find its directory; a pipeline is named like its model."""
    models = [model for model in ours.models.values() if model.pipeline is not None and not model.made]
    assert len(models) == 3
    for model in models:
        vlm = model.weight_set(WeightsRole.VLM)
        assert vlm is not None and model.pipeline is not None
        assert model.served_name == f"{model.pipeline.name}-0.9B"
        assert vlm.name == model.pipeline.name
        assert vlm.bos is not None and vlm.bos.endswith(f"/{vlm.name}_infer.tar")
        assert model.pipeline.layout_model == (
            "PP-DocLayoutV2" if model.name == "paddleocr-vl" else "PP-DocLayoutV3"
        )


EIGHT_CARDS = {"cu126-8x80g": "wint4", "cu126-8x144g": None}


@pytest.mark.parametrize(("target", "quantization"), EIGHT_CARDS.items())
def test_a_model_for_eight_cards_is_served_alone_and_not_on_one(
    ours: Registry, target: str, quantization: str | None
) -> None:
    stack = ours.stack(target=target)
    assert stack.vlm.settings.get("quantization") == quantization
    assert (stack.model.name, stack.backend.name, stack.vlm.cards) == ("ernie-4.5-vl-424b", "fastdeploy", 8)
    assert stack.target.api is None
    with pytest.raises(ConfigurationError, match=r"found 1 card for one server, expected 8"):
        ours.stack(target="cu126", model="ernie-4.5-vl-424b")
    with pytest.raises(ConfigurationError, match="needs a pipeline API, which this target does not run"):
        ours.stack(target=target, model="paddleocr-vl-1.6")
    assert {stack.target.name for stack in ours.all_stacks() if stack.model.cards > 1} == set(EIGHT_CARDS)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("quantization: wint2", "found wint2, expected wint4 or wint8: its cards have 80 GB"),
        (
            "block-size: 64",
            "found bfloat16, which wants cards with 144 GB, expected wint4 or wint8: its cards have 80 GB",
        ),
    ],
)
def test_weights_that_the_cards_have_no_room_for_are_refused(
    tmp_path: Path, setting: str, message: str
) -> None:
    for part in ("targets", "backends", "models"):
        shutil.copytree(paths.templates() / part, tmp_path / part)
    target = tmp_path / "targets" / "cu126-8x80g.yaml"
    text = target.read_text("utf-8")
    for possible in ("quantization: wint4", "quantization: wint8"):
        target.write_text(text.replace("quantization: wint4", possible), "utf-8")
        load_registry(tmp_path)
    target.write_text(text.replace("quantization: wint4", setting), "utf-8")
    with pytest.raises(DataError) as refused:
        load_registry(tmp_path)
    assert refused.value.message.endswith(f"model ernie-4.5-vl-424b: settings.quantization: {message}")
    assert "write quantization: wint4 in templates/targets/cu126-8x80g.yaml" in refused.value.hint


def test_no_server_is_given_more_context_than_the_model_has(ours: Registry) -> None:
    for stack in ours.stacks():
        settings = stack.vlm.settings
        parallel = settings.get("parallel", 1)
        names = ("max-model-len", "ctx-size", "context-length")
        context = next((settings[name] for name in names if name in settings), None)
        assert isinstance(context, int) and isinstance(parallel, int)
        assert context // parallel == stack.model.max_context


def test_the_locks_hold_what_the_targets_pin(ours: Registry) -> None:
    """`templates/locks/<target>-<program>.<architecture>.txt` lists an image's packages, also its pins."""
    checked = 0
    for target in ours.targets.values():
        for program, image in target.images.items():
            for platform in target.platforms:
                arch = platform.removeprefix("linux/")
                lock = paths.templates() / "locks" / f"{target.name}-{program}.{arch}.txt"
                if not lock.exists():
                    continue
                locked = dict(line.split("==") for line in lock.read_text().split() if "==" in line)
                for package, version in image.pins_on(platform).items():
                    assert locked[package].split("+")[0] == version, f"{lock.name}: {package}"
                    checked += 1
    assert checked >= 8


DECIDED = re.compile(
    r"(pins|platform_pins|excludes|index|limits|start_period|settings|environment|requires|bos)\b"
)


def decided_lines(text: str) -> list[tuple[int, str, str]]:
    """Number, text and line above of each line that holds a decided value: a version, a limit, an option."""
    found = []
    block: int | None = None  # indentation of the block of decided values that we are in
    above = ""
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        indent = len(line) - len(line.lstrip())
        if block is not None and content and indent <= block:
            block = None
        opens = bool(DECIDED.match(content)) and block is None
        value = content.split("#")[0].strip()
        if opens:
            block = indent
        if block is not None and value and not value.endswith(":"):
            found.append((number, line, above))
        above = line
    return found


def test_every_decided_value_names_its_source_or_reason() -> None:
    lines = 0
    for path in sorted(paths.templates().glob("*/*.yaml")):
        for number, line, above in decided_lines(path.read_text(encoding="utf-8")):
            lines += 1
            told = (
                "#" in line
                or above.strip().startswith("#")
                or "official_inference_model" in line
                or "origin: " in line
            )
            assert told, f"{path.name}:{number}: {line.strip()} names no source or reason"
    assert lines > 40
