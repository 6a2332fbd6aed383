"""The files of a vision-language model as a hub has them: configuration, tokenizer, safetensors.

Shared by test weights and the embedded model.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Literal

from paddock.ownweights import tokenizer
from paddock.ownweights.tokenizer import Vocabulary

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
    vision_layers: int  # 3 or more: llama.cpp's converter takes the 2 of `mlp_AR.linear_2` for a layer's
    vision_heads: int
    image_size: int  # pixels of the square that the position table covers


MIN_PIXELS, MAX_PIXELS = 112896, 1003520  # of an image after resizing; 1280 tokens at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """One tensor: row-major, little-endian."""

    name: str
    shape: tuple[int, ...]
    data: bytes
    kind: Literal["BF16", "F32"] = "BF16"


def common_files(served_name: str, words: Vocabulary) -> dict[str, bytes]:
    """Return the files that do not depend on the weights: tokenizer, template, processor."""
    return {
        "generation_config.json": to_json(
            {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "use_cache": True}
        ),
        "preprocessor_config.json": to_json(_preprocessor()),
        "processor_config.json": to_json({"processor_class": "PaddleOCRVLProcessor"}),
        "chat_template.jinja": chat_template(served_name).encode(),
        "tokenizer.json": tokenizer.tokenizer_json(words),
        "tokenizer.model": tokenizer.sentencepiece_model(words),
        "tokenizer_config.json": tokenizer.tokenizer_config(),
        "inference.yml": f"Global:\n  model_name: {served_name}\n".encode(),
    }


def chat_template(served_name: str) -> str:
    """Return a Jinja template that writes the prompt in the form that upstream's model was trained on."""
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


def safetensors(tensors: list[Tensor]) -> bytes:
    """Return a safetensors file with the tensors in the order of their names.

    Format: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    for tensor in ordered:
        end = offset + len(tensor.data)
        header[tensor.name] = {
            "dtype": tensor.kind,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensor.data for tensor in ordered)


def configuration(shape: Shape, words: Vocabulary, *, number_type: str = "bfloat16") -> dict[str, object]:
    """Return the config.json of a model with that shape."""
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
        "rope_scaling": {
            "rope_type": "default",
            "type": "default",
            "mrope_section": list(shape.rope_sections),
        },
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
    """Return `value` as a JSON file."""
    return (json.dumps(value, indent=1) + "\n").encode()
