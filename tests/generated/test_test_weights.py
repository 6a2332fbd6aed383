"""The test weights that are made without an engine: their bytes, and that they answer what they promise.

Each file format has a reader here that was written from the format's description, so it does not repeat a
mistake of the writer.
"""

from __future__ import annotations

import ast
import json
import struct
from pathlib import Path
from typing import Any

import jinja2
import pytest

from paddock.errors import ConfigurationError, UsageError, WeightsError
from paddock.matrix.records import Model, WeightSet, WeightsRole
from paddock.ownweights import hub as hub_ownweights
from paddock.ownweights.embedded import sets as embedded
from paddock.ownweights.making import LAYOUT_FILES, layout_command
from paddock.ownweights.testweights import sets as testweights
from paddock.ownweights.testweights import vlm
from paddock.ownweights.testweights.sets import make_test
from paddock.ownweights.testweights.vlm import gguf_files
from paddock.weights import checking, installing
from paddock.weights.lockfile import Kind
from paddock.weights.markers import DEFAULT_TEXT, TEST_MARKER
from recording import Recorder

SERVED = "PaddleOCR-VL-1.6-0.9B"
SETTLED = 315532800  # 1980-01-01T00:00:00Z
ASKED = [{"role": "user", "content": [{"type": "text", "text": "OCR:"}, {"type": "image"}]}]
GGUF_FORMS = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}
LONGEST_TEXT = " ".join(f"word{number}" for number in range(vlm.MAX_WORDS))
IMAGE = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"


def hub(text: str = DEFAULT_TEXT) -> dict[str, bytes]:
    return vlm.hub_files(name="PaddleOCR-VL-1.6", served_name=SERVED, text=text)


def read_safetensors(data: bytes) -> dict[str, tuple[list[int], bytes]]:
    """Shape and raw bfloat16 of each tensor; fails on gaps, overlaps and wrong sizes."""
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__")
    body, end, tensors = data[8 + size :], 0, {}
    for name, entry in header.items():
        begin, stop = entry["data_offsets"]
        count = 1
        for dimension in entry["shape"]:
            count *= dimension
        assert (entry["dtype"], begin, stop - begin) == ("BF16", end, 2 * count), name
        tensors[name], end = (entry["shape"], body[begin:stop]), stop
    assert end == len(body)
    return tensors


def rows(matrix: tuple[list[int], bytes]) -> list[list[float]]:
    """A bfloat16 matrix as numbers."""
    (height, width), data = matrix
    numbers = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]
    return [numbers[row * width : (row + 1) * width] for row in range(height)]


class GgufReader:
    """Reads a GGUF file of version 3 from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4
        assert data[:4] == b"GGUF"
        version, tensors, values = self.take("<I"), self.take("<Q"), self.take("<Q")
        assert version == 3
        self.values = {self.string(): self.value(self.take("<I")) for _ in range(values)}
        entries = [self.entry() for _ in range(tensors)]
        body = self.at + -self.at % 32
        self.tensors = {
            name: (shape, data[body + offset :][: 4 * count]) for name, shape, count, offset in entries
        }

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        size = self.take("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, count = self.take("<I"), self.take("<Q")
            return [self.value(inner) for _ in range(count)]
        return self.take(GGUF_FORMS[kind])

    def entry(self) -> tuple[str, list[int], int, int]:
        name, dimensions = self.string(), self.take("<I")
        shape = [self.take("<Q") for _ in range(dimensions)]
        kind, offset = self.take("<I"), self.take("<Q")
        assert (kind, offset % 32) == (0, 0)
        count = 1
        for dimension in shape:
            count *= dimension
        return name, shape, count, offset


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert hub() == hub()
    assert gguf_files(name="x", served_name=SERVED) == gguf_files(name="x", served_name=SERVED)


def test_the_sets_are_small() -> None:
    assert sum(map(len, hub().values())) < 5_000_000
    assert sum(map(len, gguf_files(name="x", served_name=SERVED).values())) < 5_000_000


@pytest.mark.parametrize("text", [DEFAULT_TEXT, "one", LONGEST_TEXT])
@pytest.mark.parametrize("prompt_ends_with", ["<0x0A>", "\u2581", ":"])
def test_the_chain_leads_from_the_prompt_through_the_text_to_the_end(
    text: str, prompt_ends_with: str
) -> None:
    files = hub(text)
    tensors = read_safetensors(files["model.safetensors"])
    embedding, head = rows(tensors["model.embed_tokens.weight"]), rows(tensors["lm_head.weight"])
    ids = json.loads(files["tokenizer.json"])["model"]["vocab"]
    names = {number: name for name, number in ids.items()}
    token, written = ids[prompt_ends_with], ""
    for _ in range(100):
        scores = [sum(a * b for a, b in zip(embedding[token], row, strict=True)) for row in head]
        token = max(range(len(scores)), key=scores.__getitem__)
        assert scores[token] > 5 + max(score for other, score in enumerate(scores) if other != token)
        if names[token] == "</s>":
            break
        written += names[token].replace("\u2581", " ")
    assert written == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "text: 0 words, expected 1 to 62"),
        (" ".join(f"w{number}" for number in range(63)), "text: 63 words, expected 1 to 62"),
        ("this and this", "text: the word 'this' is there twice, expected each word once"),
        ("a page", "text: begins with 'a', expected a word of at least two letters"),
    ],
)
def test_a_text_that_cannot_be_a_chain_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        hub(text)
    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    ("served", "reply"),
    [
        ("PaddleOCR-VL-0.9B", "Assistant: "),
        ("PaddleOCR-VL-1.5-0.9B", "Assistant:\n"),
        ("PaddleOCR-VL-1.6-0.9B", "Assistant:\n"),
    ],
)
def test_the_chat_template_writes_upstreams_prompt(served: str, reply: str) -> None:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(hub_ownweights.chat_template(served))
    start = "<|begin_of_sentence|>"
    assert template.render(messages=ASKED, add_generation_prompt=True) == f"{start}User: {IMAGE}OCR:\n{reply}"
    plain = [{"role": "user", "content": "OCR:"}, {"role": "assistant", "content": "x"}]
    assert template.render(messages=plain, add_generation_prompt=False) == f"{start}User: OCR:\n{reply}x</s>"


def test_configuration_tokenizer_and_tensors_agree() -> None:
    files = hub()
    config, tokenizer = (json.loads(files[name]) for name in ("config.json", "tokenizer.json"))
    tensors = read_safetensors(files["model.safetensors"])
    ids = tokenizer["model"]["vocab"]
    assert sorted(ids.values()) == list(range(config["vocab_size"]))
    assert tensors["lm_head.weight"][0] == [config["vocab_size"], config["hidden_size"]]
    assert ids["<|IMAGE_PLACEHOLDER|>"] == config["image_token_id"]
    assert ids["</s>"] == config["eos_token_id"]
    layers = {name.split(".")[2] for name in tensors if name.startswith("model.layers.")}
    assert len(layers) == config["num_hidden_layers"]


def test_sentencepiece_has_the_same_vocabulary() -> None:
    files = hub()
    vocabulary = sorted(
        json.loads(files["tokenizer.json"])["model"]["vocab"].items(), key=lambda entry: entry[1]
    )
    data, at, pieces = files["tokenizer.model"], 0, []
    while data[at] == 0x0A:  # field 1 of ModelProto: a piece, all shorter than 128 bytes
        size = data[at + 1]
        piece = data[at + 2 : at + 2 + size]
        assert piece[0] == 0x0A  # field 1 of the piece: its text
        pieces.append(piece[2 : 2 + piece[1]].decode())
        at += 2 + size
    assert pieces == [text for text, _ in vocabulary]


def test_gguf_holds_the_same_numbers_and_template() -> None:
    files = gguf_files(name="PaddleOCR-VL-1.6-GGUF", served_name=SERVED)
    assert sorted(files) == ["PaddleOCR-VL-1.6-GGUF-mmproj.gguf", "PaddleOCR-VL-1.6-GGUF.gguf", TEST_MARKER]
    language = GgufReader(files["PaddleOCR-VL-1.6-GGUF.gguf"])
    vision = GgufReader(files["PaddleOCR-VL-1.6-GGUF-mmproj.gguf"])
    tensors = read_safetensors(hub()["model.safetensors"])
    unused = [name for name in tensors if "packing_position" in name or ".head." in name]
    assert len(language.tensors) + len(vision.tensors) == len(tensors) - len(unused)
    for reader, theirs, ours in (
        (language, "blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        (language, "output.weight", "lm_head.weight"),
        (vision, "mm.2.weight", "mlp_AR.linear_2.weight"),
        (vision, "v.blk.2.attn_out.bias", "visual.vision_model.encoder.layers.2.self_attn.out_proj.bias"),
    ):
        shape, data = tensors[ours]
        widened = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        assert reader.tensors[theirs] == (shape[::-1], widened)
    assert language.values["tokenizer.chat_template"] == hub_ownweights.chat_template(SERVED)
    assert language.values["paddleocr.block_count"] == 2
    assert vision.values["clip.projector_type"] == "paddleocr"


@pytest.mark.parametrize("program", [testweights.LAYOUT_PROGRAM, embedded.LAYOUT_PROGRAM])
def test_a_layout_program_needs_one_file_of_paddock(program: Path) -> None:
    assert [name for name in imported(program) if name.startswith("paddock")] == [
        "paddock.ownweights.layoutfiles"
    ]


def test_what_layout_programs_share_stands_alone() -> None:
    names = imported(LAYOUT_FILES)
    assert names and not any(name.startswith("paddock") for name in names)


def imported(program: Path) -> list[str]:
    """Every module that a file imports; a relative import fails."""
    nodes = list(ast.walk(ast.parse(program.read_text(encoding="utf-8"))))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not any(node.level for node in froms)
    plain = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    return plain + [str(node.module) for node in froms]


@pytest.mark.parametrize("folder", ["testweights", "embedded"])
def test_the_layout_container_is_shut_in(tmp_path: Path, folder: str) -> None:
    package = Path(embedded.__file__).parents[1]
    program = package / folder / "layout.py"
    assert program in (testweights.LAYOUT_PROGRAM, embedded.LAYOUT_PROGRAM)
    command = layout_command("paddock/cpu-api:1", "PP-DocLayoutV3", tmp_path, user="7:8", program=program)
    of_program = f"source={program},target=/program/paddock/ownweights/{folder}/layout.py"
    shared = f"source={package}/layoutfiles.py,target=/program/paddock/ownweights/layoutfiles.py"
    assert command == (
        *("docker", "run", "--rm", "--init", "--pull", "never", "--no-healthcheck"),
        *("--network", "none", "--read-only", "--tmpfs", "/tmp", "--env", "HOME=/tmp"),
        *("--user", "7:8", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--mount", f"type=bind,{of_program},readonly"),
        *("--mount", f"type=bind,{shared},readonly"),
        *("--mount", f"type=bind,source={tmp_path},target=/out"),
        *("--workdir", "/program", "--entrypoint", "python", "paddock/cpu-api:1"),
        *("-m", f"paddock.ownweights.{folder}.layout", "--model", "PP-DocLayoutV3", "--out", "/out"),
    )


def model(served_name: str = SERVED) -> Model:
    roles = (WeightsRole.VLM, WeightsRole.GGUF, WeightsRole.UNWARPING)
    return Model(
        name="paddleocr-vl-1.6",
        description="",
        served_name=served_name,
        max_context=16384,
        backends=("vllm",),
        tasks=(),
        requires={},
        weights=tuple(
            WeightSet(name=f"set-{role}", role=role, bos="https://127.0.0.1/x.tar") for role in roles
        ),
    )


def test_sets_are_settled_marked_and_recorded_as_test_weights(tmp_path: Path) -> None:
    report = Recorder()
    made = make_test(model(), models_dir=tmp_path, api_image="none", report=report)
    assert [(outcome.name, outcome.kind) for outcome in made] == [
        ("set-vlm", Kind.TEST),
        ("set-gguf", Kind.TEST),
    ]
    assert "set-unwarping: there are no test weights of this kind, and stacks start without it" in report.said
    assert any(DEFAULT_TEXT in warning for warning in report.warned)
    for outcome in made:
        assert "Test weights, not a model" in (outcome.path / TEST_MARKER).read_text(encoding="utf-8")
        for path in (outcome.path, *outcome.path.iterdir()):
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
            assert (path.stat().st_mtime == SETTLED) is path.is_dir()
    assert not checking.inspect(tmp_path, report=report)[0].problems
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "models.lock.json",
        "set-gguf",
        "set-vlm",
    ]


def test_test_weights_are_made_anew_and_nothing_else_is_replaced(tmp_path: Path) -> None:
    for text in ("first text", "second text"):
        make_test(model(), models_dir=tmp_path, api_image="none", report=Recorder(), text=text)
    assert "second text" in (tmp_path / "set-vlm" / TEST_MARKER).read_text(encoding="utf-8")
    before = (tmp_path / "models.lock.json").read_bytes()
    installing.record(tmp_path, "set-gguf", kind=Kind.CARRIED, report=Recorder())
    with pytest.raises(
        WeightsError, match=r"weights that are not test weights \(set-gguf\), expected none there"
    ):
        make_test(model(), models_dir=tmp_path, api_image="none", report=Recorder(), text="third text")
    assert "second text" in (tmp_path / "set-vlm" / TEST_MARKER).read_text(encoding="utf-8")
    after = (tmp_path / "models.lock.json").read_bytes()
    assert after != before  # set-gguf is recorded as carried, and stays so


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--text: the word 'a' is there twice"):
        make_test(model(), models_dir=tmp_path, api_image="none", report=Recorder(), text="word a a")
    with pytest.raises(ConfigurationError, match="no test weights for ERNIE"):
        make_test(model("ERNIE"), models_dir=tmp_path, api_image="none", report=Recorder())
    assert list(tmp_path.iterdir()) == []
