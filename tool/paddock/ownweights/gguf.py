"""A vision-language model as the two GGUF files of llama.cpp: language model and vision tower (mmproj).

The tensors are those of the safetensors file, under llama.cpp's names and as float32.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from paddock.ownweights import hub, tokenizer
from paddock.ownweights.hub import Shape, Tensor
from paddock.ownweights.tokenizer import Kind, Vocabulary

VISION_PARTS = ("visual.", "mlp_AR.")  # how the hub's names of the vision tower's tensors begin
ALIGNMENT = 32  # bytes
FLOAT32 = 0  # both as a tensor's type and as a file's type

_LANGUAGE_NAMES = {
    r"model\.embed_tokens\.": "token_embd.",
    r"lm_head\.": "output.",
    r"model\.norm\.": "output_norm.",
    r"model\.layers\.(\d+)\.": r"blk.\1.",
    r"input_layernorm\.": "attn_norm.",
    r"post_attention_layernorm\.": "ffn_norm.",
    r"self_attn\.([qkv])_proj\.": r"attn_\1.",
    r"self_attn\.o_proj\.": "attn_output.",
    r"mlp\.(gate|up|down)_proj\.": r"ffn_\1.",
}
_VISION_NAMES = {
    r"mlp_AR\.pre_norm\.": "mm.input_norm.",
    r"mlp_AR\.linear_(\d)\.": r"mm.\1.",
    r"visual\.vision_model\.": "v.",
    r"embeddings\.patch_embedding\.": "patch_embd.",
    r"embeddings\.position_embedding\.": "position_embd.",
    r"post_layernorm\.": "post_ln.",
    r"encoder\.layers\.(\d+)\.": r"blk.\1.",
    r"layer_norm(\d)\.": r"ln\1.",
    r"self_attn\.([qkv])_proj\.": r"attn_\1.",
    r"self_attn\.out_proj\.": "attn_out.",
    r"mlp\.fc1\.": "ffn_up.",
    r"mlp\.fc2\.": "ffn_down.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One value of a GGUF header; `many` makes it an array."""

    kind: Literal["u32", "i32", "f32", "bool", "string"]
    value: Sequence[str] | Sequence[int] | Sequence[float]
    many: bool = False


_KINDS = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?"), "string": (8, "")}
_ARRAY = 9


def model_files(
    shape: Shape, words: Vocabulary, tensors: Sequence[Tensor], *, name: str, title: str, served_name: str
) -> dict[str, bytes]:
    """Return the language model and the vision tower as two files; `tensors` have the names of the hub."""
    template = hub.chat_template(served_name)
    language, vision = [], []
    for tensor in tensors:
        if tensor.name.startswith(VISION_PARTS):
            vision.append(_renamed(tensor, _VISION_NAMES))
        else:
            language.append(_renamed(tensor, _LANGUAGE_NAMES))
    return {
        f"{name}.gguf": gguf(_language_header(title, shape, words, template), language),
        f"{name}-mmproj.gguf": gguf(_vision_header(title, shape), vision),
    }


def gguf(header: Mapping[str, Value], tensors: Sequence[Tensor]) -> bytes:
    """Return a GGUF file; shapes are written innermost first."""
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    blobs = [_padded(_float32(tensor)) for tensor in ordered]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(ordered), len(header))
    out += b"".join(_string(key) + _value(value) for key, value in header.items())
    offset = 0
    for tensor, blob in zip(ordered, blobs, strict=True):
        shape = tensor.shape[::-1]
        out += _string(tensor.name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, FLOAT32, offset)
        offset += len(blob)
    return _padded(out) + b"".join(blobs)


def _language_header(title: str, shape: Shape, words: Vocabulary, template: str) -> dict[str, Value]:
    kinds = [Kind.CONTROL if piece.kind is Kind.USER_DEFINED else piece.kind for piece in words.pieces]
    at = "paddleocr."
    return {
        "general.architecture": _text("paddleocr"),
        "general.type": _text("model"),
        "general.name": _text(title),
        f"{at}block_count": _count(shape.layers),
        f"{at}context_length": _count(tokenizer.CONTEXT),
        f"{at}embedding_length": _count(shape.hidden),
        f"{at}feed_forward_length": _count(shape.inner),
        f"{at}attention.head_count": _count(shape.heads),
        f"{at}attention.head_count_kv": _count(shape.key_heads),
        f"{at}attention.key_length": _count(shape.head_size),
        f"{at}attention.value_length": _count(shape.head_size),
        f"{at}attention.layer_norm_rms_epsilon": _real(hub.RMS_EPSILON),
        f"{at}rope.freq_base": _real(shape.rope_base),
        f"{at}rope.dimension_sections": Value(kind="i32", value=[*shape.rope_sections, 0], many=True),
        "general.file_type": _count(FLOAT32),
        "general.quantization_version": _count(2),
        "tokenizer.ggml.model": _text("llama"),
        "tokenizer.ggml.pre": _text("default"),
        "tokenizer.ggml.tokens": Value(
            kind="string", value=[piece.text for piece in words.pieces], many=True
        ),
        "tokenizer.ggml.scores": Value(
            kind="f32", value=[-float(place) for place in range(len(words))], many=True
        ),
        "tokenizer.ggml.token_type": Value(kind="i32", value=kinds, many=True),
        "tokenizer.ggml.bos_token_id": _count(1),
        "tokenizer.ggml.eos_token_id": _count(2),
        "tokenizer.ggml.unknown_token_id": _count(0),
        "tokenizer.ggml.padding_token_id": _count(0),
        "tokenizer.ggml.add_bos_token": Value(kind="bool", value=[False]),
        "tokenizer.ggml.add_space_prefix": Value(kind="bool", value=[False]),
        "tokenizer.chat_template": _text(template),
    }


def _vision_header(title: str, shape: Shape) -> dict[str, Value]:
    at = "clip.vision."
    return {
        "general.architecture": _text("clip"),
        "general.type": _text("mmproj"),
        "general.name": _text(title),
        "general.file_type": _count(FLOAT32),
        "general.quantization_version": _count(2),
        "clip.projector_type": _text("paddleocr"),
        "clip.has_vision_encoder": Value(kind="bool", value=[True]),
        "clip.use_gelu": Value(kind="bool", value=[True]),
        f"{at}projection_dim": _count(shape.hidden),
        f"{at}image_size": _count(int(hub.MAX_PIXELS**0.5)),
        f"{at}image_min_pixels": _count(hub.MIN_PIXELS),
        f"{at}image_max_pixels": _count(hub.MAX_PIXELS),
        f"{at}image_mean": Value(kind="f32", value=[0.5, 0.5, 0.5], many=True),
        f"{at}image_std": Value(kind="f32", value=[0.5, 0.5, 0.5], many=True),
        f"{at}patch_size": _count(hub.PATCH),
        f"{at}embedding_length": _count(shape.vision_hidden),
        f"{at}feed_forward_length": _count(shape.vision_inner),
        f"{at}block_count": _count(shape.vision_layers),
        f"{at}attention.head_count": _count(shape.vision_heads),
        f"{at}attention.layer_norm_epsilon": _real(hub.LAYER_EPSILON),
    }


def _renamed(tensor: Tensor, names: Mapping[str, str]) -> Tensor:
    name = tensor.name
    for pattern, replacement in names.items():
        name = re.sub(pattern, replacement, name)
    return replace(tensor, name=name)


def _float32(tensor: Tensor) -> bytes:
    """bfloat16 is the upper half of float32."""
    if tensor.kind == "F32":
        return tensor.data
    out = bytearray(2 * len(tensor.data))
    out[2::4], out[3::4] = tensor.data[0::2], tensor.data[1::2]
    return bytes(out)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    number, form = _KINDS[value.kind]
    items = b"".join(
        _string(str(item)) if value.kind == "string" else struct.pack(form, item) for item in value.value
    )
    if value.many:
        return struct.pack("<IIQ", _ARRAY, number, len(value.value)) + items
    return struct.pack("<I", number) + items


def _text(text: str) -> Value:
    return Value(kind="string", value=[text])


def _count(number: int) -> Value:
    return Value(kind="u32", value=[number])


def _real(number: float) -> Value:
    return Value(kind="f32", value=[number])
