"""The files of the embedded model, for vLLM and PaddleX's native engine and for llama.cpp.

`vision.safetensors` beside this module is what `scripts/reader/` trained; everything else is computed. The
same arguments give the same bytes on every machine.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from paddock.ownweights import gguf, hub, tokenizer
from paddock.ownweights.embedded import copier
from paddock.ownweights.hub import Shape, Tensor
from paddock.ownweights.testweights import vlm
from paddock.ownweights.tokenizer import Vocabulary
from paddock.weights.markers import EMBEDDED_MARKER, embedded_marker_text

TRAINED = Path(__file__).with_name("vision.safetensors")
PROMPT, REPLY = "OCR:", "Assistant:"  # one token each: the first begins the count of the answer's tokens
PARTS = 32768  # rows of a table that no server uses and PaddleX's native engine wants to be there
# rows of patches that the position table has been trained for; the columns have no position of their own
ROWS = 6

SHAPE = Shape(
    hidden=copier.HIDDEN,
    inner=copier.INNER,
    layers=copier.LAYERS,
    heads=copier.HEADS,
    key_heads=copier.KEY_HEADS,
    head_size=copier.HEAD_SIZE,
    rope_base=copier.ROPE_BASE,
    rope_sections=copier.ROPE_SECTIONS,
    vision_hidden=64,
    vision_inner=192,
    vision_layers=3,
    vision_heads=2,
    image_size=ROWS * hub.PATCH,
)


def hub_files(*, name: str, served_name: str) -> dict[str, bytes]:
    """Return all files of the weight set `name`; `served_name` is a key of `hub.REPLY_STARTS`."""
    words = vocabulary()
    return {
        EMBEDDED_MARKER: embedded_marker_text(name),
        "config.json": hub.to_json(hub.configuration(SHAPE, words, number_type="float32")),
        **hub.common_files(served_name, words),
        "model.safetensors": hub.safetensors(
            [*language_tensors(words), *vision_tensors(), *_unused_tensors()]
        ),
    }


def gguf_files(*, name: str, served_name: str) -> dict[str, bytes]:
    """The same for llama.cpp: the language model and the vision tower."""
    words = vocabulary()
    tensors = (*language_tensors(words), *vision_tensors())
    return {
        EMBEDDED_MARKER: embedded_marker_text(name),
        **gguf.model_files(SHAPE, words, tensors, name=name, title=name, served_name=served_name),
    }


def vocabulary() -> Vocabulary:
    """Printable ASCII, bytes, and the two parts of the prompt between which the answer begins."""
    return tokenizer.vocabulary("", symbols=(PROMPT, REPLY))


def language_tensors(words: Vocabulary) -> list[Tensor]:
    """The computed language model."""
    characters = tuple(words.id_of(text) for text in (tokenizer.SPACE, *map(chr, range(0x21, 0x7F))))
    asked, first = words.id_of(PROMPT), words.id_of(tokenizer.SENTENCE_START)
    tensors = [
        _matrix("model.embed_tokens.weight", copier.embedding(len(words), first=first, asked=asked)),
        _matrix(
            "lm_head.weight", copier.head(len(words), end=words.id_of(tokenizer.END), characters=characters)
        ),
        _vector("model.norm.weight", copier.norm()),
    ]
    for number, layer in enumerate(copier.layers()):
        at = f"model.layers.{number}."
        tensors += [
            _vector(f"{at}input_layernorm.weight", copier.norm()),
            _vector(f"{at}post_attention_layernorm.weight", copier.norm()),
            _matrix(f"{at}self_attn.q_proj.weight", layer.query),
            _matrix(f"{at}self_attn.k_proj.weight", layer.key),
            _matrix(f"{at}self_attn.v_proj.weight", layer.value),
            _matrix(f"{at}self_attn.o_proj.weight", layer.output),
            _matrix(f"{at}mlp.gate_proj.weight", layer.gate),
            _matrix(f"{at}mlp.up_proj.weight", layer.up),
            _matrix(f"{at}mlp.down_proj.weight", layer.down),
        ]
    return tensors


def vision_tensors() -> list[Tensor]:
    """Return the trained vision tower and the projector.

    The last rows of the projector are put where the language model expects them.
    """
    trained = dict(_trained())
    weight, bias = trained.pop("mlp_AR.linear_2.weight"), trained.pop("mlp_AR.linear_2.bias")
    width = weight.shape[1]
    rows, constants = copier.picture_rows()
    spread, shifted = array("f", bytes(4 * width * copier.HIDDEN)), array("f", bytes(4 * copier.HIDDEN))
    numbers, shifts = array("f", weight.data), array("f", bias.data)
    for source, row in enumerate(rows):
        spread[row * width : (row + 1) * width] = numbers[source * width : (source + 1) * width]
        shifted[row] = shifts[source]
    for row, value in constants.items():
        shifted[row] = value
    return [
        *trained.values(),
        Tensor(name=weight.name, shape=(copier.HIDDEN, width), data=spread.tobytes(), kind="F32"),
        _vector(bias.name, shifted),
    ]


@cache
def _trained() -> Mapping[str, Tensor]:
    """The trained tensors by name, float16 in the file and float32 here."""
    data = TRAINED.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size :]
    return {
        name: Tensor(
            name=name, shape=tuple(entry["shape"]), data=_widened(body, *entry["data_offsets"]), kind="F32"
        )
        for name, entry in header.items()
    }


def _widened(body: memoryview, begin: int, end: int) -> bytes:
    return array("f", struct.unpack(f"<{(end - begin) // 2}e", body[begin:end])).tobytes()


def _unused_tensors() -> list[Tensor]:
    """What upstream's file carries and no server uses; PaddleX's native engine refuses a file without it."""
    hidden, inner, root = SHAPE.vision_hidden, SHAPE.vision_inner, "visual.vision_model."
    shapes: Iterable[tuple[str, tuple[int, ...]]] = (
        ("embeddings.packing_position_embedding.weight", (PARTS, hidden)),
        ("head.attention.in_proj_weight", (3 * hidden, hidden)),
        ("head.attention.in_proj_bias", (3 * hidden,)),
        ("head.attention.out_proj.weight", (hidden, hidden)),
        ("head.attention.out_proj.bias", (hidden,)),
        ("head.layernorm.weight", (hidden,)),
        ("head.layernorm.bias", (hidden,)),
        ("head.mlp.fc1.weight", (inner, hidden)),
        ("head.mlp.fc1.bias", (inner,)),
        ("head.mlp.fc2.weight", (hidden, inner)),
        ("head.mlp.fc2.bias", (hidden,)),
        ("head.probe", (1, 1, hidden)),
    )
    return [vlm.zeros(root + name, shape) for name, shape in shapes]


def _matrix(name: str, matrix: copier.Matrix) -> Tensor:
    return Tensor(name=name, shape=(matrix.rows, matrix.columns), data=matrix.data().tobytes(), kind="F32")


def _vector(name: str, numbers: array[float]) -> Tensor:
    return Tensor(name=name, shape=(len(numbers),), data=numbers.tobytes(), kind="F32")
