"""The test VLM: PaddleOCR-VL's architecture in about 2 MB, made without any machine-learning package.

It answers every prompt with one fixed text and then stops. The blocks hold arbitrary numbers and add next to
nothing to the residual stream; embeddings and output head are a chain that leads from the end of the prompt
through the words of the text to the end token. So it shows that a page reaches the model and that its answer
comes back, not that it reads.

The files are those of upstream's repositories on Hugging Face (flat config.json, SentencePiece and fast
tokenizer), which vLLM, PaddleX's native engine and llama.cpp's converter read. Every number is exact in
bfloat16 and comes from SHAKE-256 of the tensor's name: the same arguments give the same bytes on every
machine.
"""

from __future__ import annotations

import hashlib
import math
import struct

from paddock.ownweights import tokenizer
from paddock.ownweights.gguf import model_files
from paddock.ownweights.hub import (
    MERGE,
    PATCH,
    Shape,
    Tensor,
    common_files,
    configuration,
    safetensors,
    to_json,
)
from paddock.ownweights.tokenizer import Vocabulary
from paddock.weights.markers import DEFAULT_TEXT, TEST_MARKER, test_marker_text, what_it_does

SHAPE = Shape(
    hidden=64,
    inner=64,
    layers=2,
    heads=2,
    key_heads=1,
    head_size=32,
    rope_base=500000.0,
    rope_sections=(4, 6, 6),
    vision_hidden=32,
    vision_inner=64,
    vision_layers=3,
    vision_heads=1,
    image_size=384,
)

MAX_WORDS = SHAPE.hidden - 2

ONE, TEN = b"\x80\x3f", b"\x20\x41"  # bfloat16, little-endian
# bfloat16 of n / 2048 for each signed byte n, as two tables: low and high byte.
_SMALL = [struct.pack("<f", (code - 256 if code > 127 else code) / 2048)[2:] for code in range(256)]
_FAINT = [struct.pack("<f", (code - 256 if code > 127 else code) / 2**21)[2:] for code in range(256)]


def hub_files(*, name: str, served_name: str, text: str = DEFAULT_TEXT) -> dict[str, bytes]:
    """All files of the weight set `name` (upstream's directory name), by file name.

    `served_name` is a key of `hub.REPLY_STARTS`. Raises ValueError for a `text` that the chain cannot hold.
    """
    words = vocabulary_of(text)
    return {
        TEST_MARKER: test_marker_text(name, what_it_does(text)),
        "config.json": to_json(configuration(SHAPE, words)),
        **common_files(served_name, words),
        "model.safetensors": safetensors(language_tensors(words) + vision_tensors() + unused_tensors()),
    }


def vocabulary_of(text: str) -> Vocabulary:
    """The vocabulary for an answer; ValueError when its words cannot form a chain."""
    words = text.split()
    if not 1 <= len(words) <= MAX_WORDS:
        raise ValueError(f"text: {len(words)} words, expected 1 to {MAX_WORDS}")
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise ValueError(f"text: the word {twice!r} is there twice, expected each word once")
    if len(words[0]) < 2:
        raise ValueError(f"text: begins with {words[0]!r}, expected a word of at least two letters")
    return tokenizer.vocabulary(text)


def language_tensors(words: Vocabulary) -> list[Tensor]:
    """The language model: arbitrary blocks of faint effect between the chain's two ends."""
    embedding, head = _chain(words)
    tensors = [
        Tensor(name="model.embed_tokens.weight", shape=(len(words), SHAPE.hidden), data=embedding),
        Tensor(name="lm_head.weight", shape=(len(words), SHAPE.hidden), data=head),
        _constant("model.norm.weight", (SHAPE.hidden,), ONE),
    ]
    for layer in range(SHAPE.layers):
        at = f"model.layers.{layer}."
        tensors += [
            _constant(f"{at}input_layernorm.weight", (SHAPE.hidden,), ONE),
            _constant(f"{at}post_attention_layernorm.weight", (SHAPE.hidden,), ONE),
            _arbitrary(f"{at}self_attn.q_proj.weight", (SHAPE.heads * SHAPE.head_size, SHAPE.hidden)),
            _arbitrary(f"{at}self_attn.k_proj.weight", (SHAPE.key_heads * SHAPE.head_size, SHAPE.hidden)),
            _arbitrary(f"{at}self_attn.v_proj.weight", (SHAPE.key_heads * SHAPE.head_size, SHAPE.hidden)),
            _arbitrary(
                f"{at}self_attn.o_proj.weight", (SHAPE.hidden, SHAPE.heads * SHAPE.head_size), table=_FAINT
            ),
            _arbitrary(f"{at}mlp.gate_proj.weight", (SHAPE.inner, SHAPE.hidden)),
            _arbitrary(f"{at}mlp.up_proj.weight", (SHAPE.inner, SHAPE.hidden)),
            _arbitrary(f"{at}mlp.down_proj.weight", (SHAPE.hidden, SHAPE.inner), table=_FAINT),
        ]
    return tensors


def vision_tensors() -> list[Tensor]:
    """The vision tower and the projector into the language model."""
    hidden, inner, root = SHAPE.vision_hidden, SHAPE.vision_inner, "visual.vision_model."
    merged = hidden * MERGE**2
    positions = (SHAPE.image_size // PATCH) ** 2
    tensors = [
        _arbitrary(f"{root}embeddings.patch_embedding.weight", (hidden, 3, PATCH, PATCH)),
        _constant(f"{root}embeddings.patch_embedding.bias", (hidden,)),
        _arbitrary(f"{root}embeddings.position_embedding.weight", (positions, hidden)),
        *_layer_norm(f"{root}post_layernorm", hidden),
        *_layer_norm("mlp_AR.pre_norm", hidden),
        *_linear("mlp_AR.linear_1", merged, merged),
        *_linear("mlp_AR.linear_2", SHAPE.hidden, merged),
    ]
    for layer in range(SHAPE.vision_layers):
        at = f"{root}encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors += _linear(f"{at}self_attn.{part}", hidden, hidden)
        tensors += _linear(f"{at}mlp.fc1", inner, hidden) + _linear(f"{at}mlp.fc2", hidden, inner)
        tensors += _layer_norm(f"{at}layer_norm1", hidden) + _layer_norm(f"{at}layer_norm2", hidden)
    return tensors


def unused_tensors() -> list[Tensor]:
    """What upstream's file carries and no server uses; PaddleX's native engine refuses a file without it."""
    hidden, inner, root = SHAPE.vision_hidden, SHAPE.vision_inner, "visual.vision_model."
    return [
        _constant(f"{root}embeddings.packing_position_embedding.weight", (32768, hidden)),
        _arbitrary(f"{root}head.attention.in_proj_weight", (3 * hidden, hidden)),
        _constant(f"{root}head.attention.in_proj_bias", (3 * hidden,)),
        *_linear(f"{root}head.attention.out_proj", hidden, hidden),
        *_layer_norm(f"{root}head.layernorm", hidden),
        *_linear(f"{root}head.mlp.fc1", inner, hidden),
        *_linear(f"{root}head.mlp.fc2", hidden, inner),
        _arbitrary(f"{root}head.probe", (1, 1, hidden)),
    ]


def _chain(words: Vocabulary) -> tuple[bytes, bytes]:
    """Embedding and head: dimension 0 means "stop", 1 "begin the answer", 2 and on "word n was written"."""
    begins = {words.id_of(text) for text in (tokenizer.NEWLINE, tokenizer.SPACE, ":")}  # how a prompt can end
    dimension = dict.fromkeys(range(len(words)), 0) | dict.fromkeys(begins, 1)
    dimension |= {token: place + 2 for place, token in enumerate(words.answer[:-1])}
    embedding, head = (bytearray(2 * len(words) * SHAPE.hidden) for _ in range(2))
    for token, place in dimension.items():
        _put(embedding, token, place, ONE)
    for place, token in enumerate((words.id_of(tokenizer.END), *words.answer)):
        _put(head, token, place, TEN)
    return bytes(embedding), bytes(head)


def _put(matrix: bytearray, row: int, column: int, value: bytes) -> None:
    at = 2 * (row * SHAPE.hidden + column)
    matrix[at : at + 2] = value


def zeros(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of zeros in bfloat16."""
    return _constant(name, shape)


def _constant(name: str, shape: tuple[int, ...], value: bytes = b"\0\0") -> Tensor:
    return Tensor(name=name, shape=shape, data=value * math.prod(shape))


def _arbitrary(name: str, shape: tuple[int, ...], table: list[bytes] = _SMALL) -> Tensor:
    numbers = hashlib.shake_256(name.encode()).digest(math.prod(shape))
    data = bytearray(2 * len(numbers))
    for plane in range(2):
        data[plane::2] = numbers.translate(bytes(entry[plane] for entry in table))
    return Tensor(name=name, shape=shape, data=bytes(data))


def _linear(name: str, rows: int, columns: int) -> list[Tensor]:
    return [_arbitrary(f"{name}.weight", (rows, columns)), _constant(f"{name}.bias", (rows,))]


def _layer_norm(name: str, size: int) -> list[Tensor]:
    return [_constant(f"{name}.weight", (size,), ONE), _constant(f"{name}.bias", (size,))]


def gguf_files(*, name: str, served_name: str, text: str = DEFAULT_TEXT) -> dict[str, bytes]:
    """All files of the weight set `name` (upstream's directory name, which upstream's file names repeat).

    Raises ValueError for a `text` that the chain cannot hold.
    """
    words = vocabulary_of(text)
    tensors = (*language_tensors(words), *vision_tensors())
    return {
        TEST_MARKER: test_marker_text(name, what_it_does(text)),
        **model_files(
            SHAPE, words, tensors, name=name, title=f"{name} (test weights)", served_name=served_name
        ),
    }
