"""The tokenizer of a vision-language model of ours, in the two forms that the serving programs read.

The vocabulary is written out, not trained: special tokens, the 256 bytes, the words of the answer, printable
ASCII. `tokenizer.json` is read by vLLM and SGLang (Hugging Face tokenizers), `tokenizer.model` by PaddleX's
native engine (SentencePiece,
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
IMAGE, VIDEO = "<|IMAGE_PLACEHOLDER|>", "<|video_pad|>"
IMAGE_START, IMAGE_END = "<|IMAGE_START|>", "<|IMAGE_END|>"
SENTENCE_START, SENTENCE_END = "<|begin_of_sentence|>", "<|end_of_sentence|>"
SPACE = "\u2581"  # how SentencePiece writes a space
NEWLINE = "<0x0A>"
CONTEXT = 16384  # tokens


class Kind(IntEnum):
    """SentencePiece's types of pieces; GGUF counts them in the same way."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    BYTE = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One entry of the vocabulary; its id is its place."""

    text: str
    kind: Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """All pieces, and the ids of the answer's words in their order."""

    pieces: tuple[Piece, ...]
    answer: tuple[int, ...]

    def id_of(self, text: str) -> int:
        """Return the id of a piece that is there."""
        return next(number for number, piece in enumerate(self.pieces) if piece.text == text)

    def __len__(self) -> int:
        return len(self.pieces)


def vocabulary(answer: str, symbols: Sequence[str] = ()) -> Vocabulary:
    """Return the vocabulary that can write `answer`, one token for each word.

    Each of `symbols` is one token wherever it is read.
    """
    words = [word if place == 0 else SPACE + word for place, word in enumerate(answer.split())]
    special = (IMAGE, VIDEO, IMAGE_START, IMAGE_END, SENTENCE_START, SENTENCE_END)
    characters = [SPACE, *(chr(code) for code in range(0x21, 0x7F))]
    pieces = (
        Piece(text=UNKNOWN, kind=Kind.UNKNOWN),
        Piece(text=BEGIN, kind=Kind.CONTROL),
        Piece(text=END, kind=Kind.CONTROL),
        *(Piece(text=text, kind=Kind.USER_DEFINED) for text in (*special, *symbols)),
        *(Piece(text=f"<0x{byte:02X}>", kind=Kind.BYTE) for byte in range(256)),
        *(Piece(text=word, kind=Kind.NORMAL) for word in words),
        *(Piece(text=text, kind=Kind.NORMAL) for text in characters if text not in words),
    )
    first = 3 + len(special) + len(symbols) + 256
    return Vocabulary(pieces=pieces, answer=tuple(range(first, first + len(words))))


def tokenizer_json(vocabulary: Vocabulary) -> bytes:
    """Return `tokenizer.json`: characters with byte fallback; no merges, as words are never read."""
    special = [
        (number, piece.text)
        for number, piece in enumerate(vocabulary.pieces)
        if piece.kind in (Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED)
    ]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return _json(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": number, "content": text, **flags} for number, text in special],
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": UNKNOWN,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": {piece.text: number for number, piece in enumerate(vocabulary.pieces)},
                "merges": [],
            },
        }
    )


def tokenizer_config() -> bytes:
    """Return `tokenizer_config.json`."""
    return _json(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BEGIN,
            "eos_token": END,
            "unk_token": UNKNOWN,
            "pad_token": UNKNOWN,
            "cls_token": SENTENCE_START,
            "sep_token": SENTENCE_END,
            "image_token": IMAGE,
            "extra_special_tokens": {"image_token": IMAGE},
            "add_bos_token": False,
            "add_eos_token": False,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": CONTEXT,
        }
    )


def sentencepiece_model(vocabulary: Vocabulary) -> bytes:
    """Return `tokenizer.model`: a SentencePiece ModelProto.

    It is encoded by hand, so that it holds nothing but what is written here.
    """
    pieces = b"".join(
        _field(1, _field(1, piece.text.encode()) + _float(2, -float(number)) + _number(3, piece.kind))
        for number, piece in enumerate(vocabulary.pieces)
    )
    bpe, no_pad = 2, (1 << 64) - 1  # -1 as protobuf writes it
    trainer = (
        _number(3, bpe)
        + _number(4, len(vocabulary))
        + _number(35, 1)  # byte_fallback
        + _number(40, 0)  # unk_id
        + _number(41, 1)  # bos_id
        + _number(42, 2)  # eos_id
        + _number(43, no_pad)  # pad_id
    )
    # No dummy prefix and no squeezing of spaces: the text is taken as it is.
    normalizer = _field(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    return pieces + _field(2, trainer) + _field(3, normalizer)


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
