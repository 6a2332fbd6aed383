"""The test VLM: PaddleOCR-VL's architecture in about 2 MB, made without any machine-learning package.

It answers every prompt with one fixed text and then stops. The blocks hold arbitrary numbers and add next to nothing to
the residual stream; embeddings and output head are a chain that leads from the end of the prompt through the words of
the text to the end token. So it shows that a page reaches the model and that its answer comes back, not that it reads.

The files are those of upstream's repositories on Hugging Face (flat config.json, SentencePiece and fast tokenizer),
which vLLM, PaddleX's native engine and llama.cpp's converter read. Every number is exact in bfloat16 and comes from
SHAKE-256 of the tensor's name: the same arguments give the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Literal

from paddock.testweights import tokenizer
from paddock.testweights.marker import MARKER, marker_text
from paddock.testweights.tokenizer import Vocabulary

DEFAULT_TEXT = "paddock test weights: this text was not read from the page"

# How the reply begins in upstream's prompt of each model. Version 1 differs from the later ones.
REPLY_STARTS = {
    "PaddleOCR-VL-0.9B": "Assistant: ",
    "PaddleOCR-VL-1.5-0.9B": "Assistant:\n",
    "PaddleOCR-VL-1.6-0.9B": "Assistant:\n",
}

PATCH, MERGE = 14, 2
LAYER_EPSILON, RMS_EPSILON = 1e-6, 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The numbers that make one model of PaddleOCR-VL's architecture larger than another."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    rope_base: float
    rope_sections: tuple[int, int, int]  # pairs of a head's dimensions that time, height and width turn
    vision_hidden: int
    vision_inner: int
    vision_layers: int  # three at least: llama.cpp's converter takes the 2 of `mlp_AR.linear_2` for that of a layer
    vision_heads: int
    image_size: int  # pixels of the square that the position table covers


SHAPE = Shape(
    hidden=64, inner=64, layers=2, heads=2, key_heads=1, head_size=32, rope_base=500000.0, rope_sections=(4, 6, 6),
    vision_hidden=32, vision_inner=64, vision_layers=3, vision_heads=1, image_size=384,
)  # fmt: skip
MIN_PIXELS, MAX_PIXELS = 112896, 1003520  # of an image after resizing; 1280 tokens at most
MAX_WORDS = SHAPE.hidden - 2

ONE, TEN = b"\x80\x3f", b"\x20\x41"  # bfloat16, little-endian
# bfloat16 of n / 2048 for each signed byte n, as two tables: low and high byte.
_SMALL = [struct.pack("<f", (code - 256 if code > 127 else code) / 2048)[2:] for code in range(256)]
_FAINT = [struct.pack("<f", (code - 256 if code > 127 else code) / 2**21)[2:] for code in range(256)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """One tensor: row-major, little-endian."""

    name: str
    shape: tuple[int, ...]
    data: bytes
    kind: Literal["BF16", "F32"] = "BF16"


def hub_files(*, name: str, served_name: str, text: str = DEFAULT_TEXT) -> dict[str, bytes]:
    """All files of the weight set `name` (upstream's directory name), by file name.

    `served_name` is a key of REPLY_STARTS. Raises ValueError for a `text` that the chain cannot hold.
    """
    words = vocabulary_of(text)
    return {
        MARKER: marker_text(name, what_it_does(text)),
        "config.json": to_json(configuration(SHAPE, words)),
        **common_files(served_name, words),
        "model.safetensors": safetensors(language_tensors(words) + vision_tensors() + unused_tensors()),
    }


def common_files(served_name: str, words: Vocabulary) -> dict[str, bytes]:
    """The files that do not depend on the weights: tokenizer, template, processor."""
    return {
        "generation_config.json": to_json({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "use_cache": True}),
        "preprocessor_config.json": to_json(_preprocessor()),
        "processor_config.json": to_json({"processor_class": "PaddleOCRVLProcessor"}),
        "chat_template.jinja": chat_template(served_name).encode(),
        "tokenizer.json": tokenizer.tokenizer_json(words),
        "tokenizer.model": tokenizer.sentencepiece_model(words),
        "tokenizer_config.json": tokenizer.tokenizer_config(),
        "inference.yml": f"Global:\n  model_name: {served_name}\n".encode(),
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


def what_it_does(text: str) -> str:
    """One paragraph for the marker."""
    return f"Whatever it is asked and shown, this language model answers:\n\n    {text}"


def text_in(marker: str) -> str | None:
    """The text that test weights answer, from the marker beside them."""
    found = re.search(r"language model answers:\n\n    (.+)", marker)
    return found[1].strip() if found else None


def chat_template(served_name: str) -> str:
    """A Jinja template that writes the prompt in the form that upstream's model was trained on."""
    reply = json.dumps(REPLY_STARTS[served_name])
    image = tokenizer.IMAGE_START + tokenizer.IMAGE + tokenizer.IMAGE_END
    return (
        "{#- Test weights: images first, then the text, as PaddleOCR-VL takes them. -#}\n"
        f"{{{{- '{tokenizer.SENTENCE_START}' -}}}}\n"
        "{%- for message in messages -%}\n"
        "  {%- if message['role'] == 'user' -%}{{- 'User: ' -}}{%- endif -%}\n"
        f"  {{%- if message['role'] == 'assistant' -%}}{{{{- {reply} -}}}}{{%- endif -%}}\n"
        "  {%- if message['content'] is string -%}\n"
        "    {{- message['content'] -}}\n"
        "  {%- else -%}\n"
        "    {%- for content in message['content'] -%}\n"
        f"      {{%- if content['type'] == 'image' -%}}{{{{- '{image}' -}}}}{{%- endif -%}}\n"
        "    {%- endfor -%}\n"
        "    {%- for content in message['content'] -%}\n"
        "      {%- if content['type'] == 'text' -%}{{- content['text'] -}}{%- endif -%}\n"
        "    {%- endfor -%}\n"
        "  {%- endif -%}\n"
        f"  {{{{- '{tokenizer.END}' if message['role'] == 'assistant' else '\\n' -}}}}\n"
        "{%- endfor -%}\n"
        f"{{%- if add_generation_prompt -%}}{{{{- {reply} -}}}}{{%- endif -%}}\n"
    )


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
            _arbitrary(f"{at}self_attn.o_proj.weight", (SHAPE.hidden, SHAPE.heads * SHAPE.head_size), table=_FAINT),
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


def safetensors(tensors: list[Tensor]) -> bytes:
    """A safetensors file (https://github.com/huggingface/safetensors#format), tensors in the order of their names."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    for tensor in ordered:
        end = offset + len(tensor.data)
        header[tensor.name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensor.data for tensor in ordered)


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


def configuration(shape: Shape, words: Vocabulary, *, number_type: str = "bfloat16") -> dict[str, object]:
    """config.json of a model with that shape."""
    return {
        "architectures": ["PaddleOCRVLForConditionalGeneration"],
        "model_type": "paddleocr_vl",
        "vocab_size": len(words),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": tokenizer.CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": RMS_EPSILON,
        "use_bias": False,
        "tie_word_embeddings": False,
        "rope_theta": shape.rope_base,
        "rope_scaling": {"rope_type": "default", "type": "default", "mrope_section": list(shape.rope_sections)},
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "image_token_id": words.id_of(tokenizer.IMAGE),
        "video_token_id": words.id_of(tokenizer.VIDEO),
        "vision_start_token_id": words.id_of(tokenizer.IMAGE_START),
        "vision_end_token_id": words.id_of(tokenizer.IMAGE_END),
        "torch_dtype": number_type,
        "vision_config": {
            "architectures": ["PaddleOCRVisionModel"],
            "model_type": "paddleocr_vl",
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_inner,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": shape.vision_heads,
            "num_channels": 3,
            "image_size": shape.image_size,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": LAYER_EPSILON,
        },
    }


def _preprocessor() -> dict[str, object]:
    return {
        "image_processor_type": "PaddleOCRVLImageProcessor",
        "processor_class": "PaddleOCRVLProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 1,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "min_pixels": MIN_PIXELS,
        "max_pixels": MAX_PIXELS,
    }


def to_json(value: object) -> bytes:
    """A JSON file."""
    return (json.dumps(value, indent=1) + "\n").encode()
