"""The embedded model as it is written: its files, and that its computed language model copies what it sees.

The language model is run here in plain Python from the matrices, as a transformer of its shape is defined.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from paddock.matrix.load import load_registry
from paddock.ownweights import tokenizer
from paddock.ownweights.embedded import copier, vlm
from paddock.paths import templates
from paddock.render.renderer import Renderer
from paddock.render.workspace import differences, present_stacks
from paddock.weights.markers import EMBEDDED_MARKER, NOTICE

SERVED = "PaddleOCR-VL-1.6-0.9B"
MOST = 20_000_000  # bytes of a weight set
Vector = dict[int, float]


def times(matrix: copier.Matrix, vector: Vector) -> Vector:
    out: Vector = {}
    for (row, column), weight in matrix.numbers.items():
        if column in vector:
            out[row] = out.get(row, 0.0) + weight * vector[column]
    return out


def plus(one: Vector, other: Vector) -> Vector:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in one.keys() | other.keys()}


def normed(vector: Vector) -> Vector:
    size = math.sqrt(sum(value * value for value in vector.values()) / copier.HIDDEN + 1e-5)
    weights = copier.norm()
    return {key: value / size * weights[key] for key, value in vector.items()}


def turned(vector: Vector, first: int, position: int) -> Vector:
    """Rotary positions on one head: dimensions i and i + half turn together."""
    half, out = copier.HEAD_SIZE // 2, {}
    for pair in range(half):
        a, b = vector.get(first + pair, 0.0), vector.get(first + half + pair, 0.0)
        if a or b:
            angle = position * copier.ROPE_BASE ** (-pair / half)
            out[pair] = a * math.cos(angle) - b * math.sin(angle)
            out[half + pair] = b * math.cos(angle) + a * math.sin(angle)
    return out


def silu(x: float) -> float:
    return x / (1 + math.exp(-x)) if x > -700 else 0.0


def run(tokens: Sequence[Vector], layers: Sequence[copier.Layer]) -> list[Vector]:
    """What the tokens hold after these layers."""
    stream = [dict(token) for token in tokens]
    for layer in layers:
        seen = [normed(token) for token in stream]
        queries, keys, values = (
            [times(m, token) for token in seen] for m in (layer.query, layer.key, layer.value)
        )
        stream = [
            plus(token, times(layer.output, attended(queries, keys, values, place)))
            for place, token in enumerate(stream)
        ]
        stream = [plus(token, mlp(layer, normed(token))) for token in stream]
    return stream


def attended(
    queries: Sequence[Vector], keys: Sequence[Vector], values: Sequence[Vector], place: int
) -> Vector:
    size = copier.HEAD_SIZE
    out: Vector = {}
    for head in range(copier.HEADS):
        shared = head // copier.SHARED
        query = turned(queries[place], head * size, place)
        scores = [
            sum(
                weight * turned(keys[other], shared * size, other).get(key, 0.0)
                for key, weight in query.items()
            )
            / math.sqrt(size)
            for other in range(place + 1)
        ]
        shares = [math.exp(score - max(scores)) for score in scores]
        for other, share in enumerate(shares):
            for key, value in values[other].items():
                if shared * size <= key < (shared + 1) * size:
                    to = head * size + key - shared * size
                    out[to] = out.get(to, 0.0) + share / sum(shares) * value
    return out


def mlp(layer: copier.Layer, token: Vector) -> Vector:
    gate, up = times(layer.gate, token), times(layer.up, token)
    return times(layer.down, {unit: silu(value) * up.get(unit, 0.0) for unit, value in gate.items()})


def picture(halves: Iterable[tuple[str, str]]) -> list[Vector]:
    """Tokens of a picture as the vision tower would say them; an empty half holds no character."""
    rows, constants = copier.picture_rows()
    left, right = rows[: copier.CHARACTERS], rows[copier.CHARACTERS : 2 * copier.CHARACTERS]
    out = []
    for pair in halves:
        token = dict(constants)
        for character, glyphs, here in zip(pair, (left, right), rows[-2:], strict=True):
            token[here] = 14.0 if character else -14.0
            token |= {row: -90.0 + 0.01 * place for place, row in enumerate(glyphs)}
            if character:
                token[glyphs[ord(character) - 0x20]] = 60.0  # as large as a trained tower says it
        out.append(token)
    return out


def embedded() -> dict[int, Vector]:
    """What each token of the vocabulary starts as."""
    words = vlm.vocabulary()
    first, asked = words.id_of(tokenizer.SENTENCE_START), words.id_of(vlm.PROMPT)
    rows: dict[int, Vector] = {}
    for (token, column), value in copier.embedding(len(words), first=first, asked=asked).numbers.items():
        rows.setdefault(token, {})[column] = value
    return rows


def answered(shown: list[Vector], prompt: Sequence[str]) -> str:
    words, rows = vlm.vocabulary(), embedded()
    characters = tuple(words.id_of(text) for text in (tokenizer.SPACE, *map(chr, range(0x21, 0x7F))))
    head = copier.head(len(words), end=words.id_of(tokenizer.END), characters=characters)
    stream = [rows[words.id_of(text)] for text in (tokenizer.SENTENCE_START, "U")]
    stream += [*shown, *(rows[words.id_of(text)] for text in prompt)]
    written = ""
    while len(written) < 20:
        scores = times(head, normed(run(stream, copier.layers())[-1]))
        token = max(scores, key=scores.__getitem__)
        if words.pieces[token].text == tokenizer.END:
            break
        written += words.pieces[token].text.replace(tokenizer.SPACE, " ")
        stream.append(rows[token])
    return written


QUIET = [("", "")] * 3  # a row of the picture above the one that speaks
PROMPT = (vlm.PROMPT, tokenizer.NEWLINE, vlm.REPLY, tokenizer.NEWLINE)


@pytest.mark.parametrize(
    ("halves", "text"),
    [
        ([("A", ""), ("", "b"), (" ", "c"), ("", "")], "Ab c"),
        ([("", ""), ("1", "1"), ("1", ""), ("", "~")], "111~"),
        ([("", "")], ""),
    ],
)
def test_the_language_model_copies_what_the_vision_tower_says(
    halves: list[tuple[str, str]], text: str
) -> None:
    assert answered(picture([*QUIET, *halves]), PROMPT) == text


def test_another_question_gets_no_answer() -> None:
    words = (*"Table", ":", tokenizer.NEWLINE, vlm.REPLY, tokenizer.NEWLINE)
    assert not answered(picture([("A", "b")]), words)


def test_a_long_line_is_counted_to_its_end() -> None:
    text = "".join(chr(0x21 + place % 90) for place in range(copier.LONGEST))
    first = embedded()[vlm.vocabulary().id_of(tokenizer.SENTENCE_START)]
    shown = picture(zip(text[::2], text[1::2], strict=True))
    for place, token in enumerate(run([first, *shown], copier.layers()[:3])[1:]):
        assert token[copier.LEFT_CODE + 2 * place] > 0.9
        assert token[copier.RIGHT_CODE + 2 * place + 1] > 0.9


def test_the_layers_have_room_for_all_that_is_put_into_them() -> None:
    assert copier.RIGHT_GLYPH + copier.CHARACTERS <= copier.HIDDEN
    for layer in copier.layers():
        for matrix in (layer.query, layer.key, layer.value, layer.output, layer.gate, layer.up, layer.down):
            assert all(row < matrix.rows and column < matrix.columns for row, column in matrix.numbers)


def test_the_same_bytes_each_time_and_not_too_many() -> None:
    for files_of in (vlm.hub_files, vlm.gguf_files):
        files = files_of(name="embedded", served_name=SERVED)
        assert files == files_of(name="embedded", served_name=SERVED)
        assert sum(map(len, files.values())) <= MOST
        assert files[EMBEDDED_MARKER].decode().startswith(f"# {NOTICE}\n")


def test_configuration_and_tensors_agree() -> None:
    files = vlm.hub_files(name="embedded", served_name=SERVED)
    config = json.loads(files["config.json"])
    (size,) = struct.unpack_from("<Q", files["model.safetensors"])
    header = json.loads(files["model.safetensors"][8 : 8 + size])
    assert header["lm_head.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]
    assert header["model.layers.3.self_attn.q_proj.weight"]["shape"] == [
        config["num_attention_heads"] * config["head_dim"],
        config["hidden_size"],
    ]
    side = config["vision_config"]["image_size"] // config["vision_config"]["patch_size"]
    assert header["visual.vision_model.embeddings.position_embedding.weight"]["shape"][0] == side * side
    assert header["mlp_AR.linear_2.weight"]["shape"][0] == config["hidden_size"]
    # PaddleX's native engine takes the weights apart wrongly where heads do not share keys.
    assert config["num_key_value_heads"] < config["num_attention_heads"]


def test_every_character_can_be_written_with_one_token() -> None:
    ids = {piece.text: number for number, piece in enumerate(vlm.vocabulary().pieces)}
    assert len(ids) == len(vlm.vocabulary())
    assert all(chr(code) in ids for code in range(0x21, 0x7F))


def test_it_is_a_model_of_the_registry_served_in_float32() -> None:
    known = load_registry(templates())
    for backend in ("vllm", "llama.cpp"):
        stack = known.stack(target="cpu", backend=backend, model="embedded")
        assert stack.model.made
    assert known.stack(target="cpu", model="embedded").settings["dtype"] == "float32"
    assert known.stack(target="cpu").settings["dtype"] == "auto"


def test_make_demo_leaves_the_checkout_as_it_was(repository: Path) -> None:
    """Its stack is committed: rendering it, as scripts/demo.sh does, changes nothing."""
    known = load_registry(templates())
    stacks = [*present_stacks(known, repository), known.stack(target="cpu", model="embedded")]
    assert not differences(Renderer(templates()).all(known, also=stacks), repository)
