"""Reads the body of a request: its document, and options that the models can take.

The large strings (base64) are taken out before JSON is read, so that what is left is small. Numbers that size the
model's work are brought within the model's own limits, and what cannot be meant is refused with the reason.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

from limits import FEWEST_PIXELS, MAX_NEW_TOKENS, MOST_MIN_PIXELS, MOST_PIXELS, Refusal

# A JSON string of base64, perhaps with escaped line breaks.
LARGE = re.compile(rb'"((?:data:[a-z/+.-]{1,60};base64,)?[A-Za-z0-9+/=_\\-]{4096,})"')
MOST_REST = 16_000_000  # bytes of JSON beside such strings
MOST_VALUES = 1_000_000  # an empty list of Python's takes 56 bytes
LONGEST_TEXT = 256  # characters of a short option
MOST_UNCLIP = 10.0
CLASSES = 64  # more than the layout networks have
# PaddleX 3.7.2, get_layout_parsing_results: what it takes out of vlm_extra_args. Anything else would go to the model.
EXTRA = {f"{task}_{bound}_pixels" for task in ("ocr", "table", "chart", "formula", "seal") for bound in ("min", "max")}


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a request, with its large strings as `bytes` of base64."""
    large: list[bytes] = []

    def taken_out(found: re.Match[bytes]) -> bytes:
        large.append(found[1])
        return b'{"\\u0000":%d}' % (len(large) - 1)

    rest = LARGE.sub(taken_out, body)
    if len(rest) > MOST_REST or rest.count(b",") + rest.count(b"[") + rest.count(b"{") > MOST_VALUES:
        raise Refusal(
            413, f"found more than {MOST_REST} bytes or {MOST_VALUES} values of JSON beside the base64 of documents"
        )

    def put_back(pairs: list[tuple[str, Any]]) -> Any:
        if len(pairs) == 1 and pairs[0][0] == "\0":
            number = pairs[0][1]
            return large[number] if isinstance(number, int) and 0 <= number < len(large) else _no_json("a key is NUL")
        return dict(pairs)

    try:
        read = json.loads(rest, object_pairs_hook=put_back, parse_constant=_no_json)
    except (ValueError, RecursionError) as wrong:
        raise Refusal(422, f"the body is not JSON ({wrong or 'nested too deeply'})") from wrong
    if not isinstance(read, dict):
        raise Refusal(422, f"found {type(read).__name__}, expected a JSON object")
    return read


def _no_json(found: str) -> NoReturn:
    raise ValueError(f"found {found}")


def text_of(value: Any, name: str) -> str:
    """A string of the body, large or small."""
    if isinstance(value, bytes):
        try:
            return str(json.loads(b'"' + value + b'"'))
        except ValueError as wrong:
            raise Refusal(422, f"the body is not JSON ({wrong})") from wrong
    if not isinstance(value, str):
        raise Refusal(422, f"{name}: found {_kind(value)}, expected a string")
    return value


def with_texts(value: Any) -> Any:
    """The same tree with its large strings as `str`."""
    if isinstance(value, bytes):
        return text_of(value, "")
    if isinstance(value, dict):
        return {key: with_texts(of_key) for key, of_key in value.items()}
    return [with_texts(item) for item in value] if isinstance(value, list) else value


def bytes_of(value: Any, name: str, most: int) -> bytes:
    """What a string of base64 stands for; raises Refusal for anything else."""
    encoded = (
        value if isinstance(value, bytes) and b"\\" not in value else text_of(value, name).encode("ascii", "replace")
    )
    encoded = encoded.translate(None, b" \r\n\t")
    if encoded.startswith(b"data:"):
        encoded = encoded.partition(b",")[2]
    if len(encoded) // 4 * 3 > most + 2:
        raise Refusal(413, f"{name}: found more than {most} bytes (API_MAX_BYTES)")
    try:
        data = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as wrong:
        raise Refusal(422, f"{name}: is not base64 ({wrong})") from wrong
    if len(data) > most:
        raise Refusal(413, f"{name}: found {len(data)} bytes, expected at most {most} (API_MAX_BYTES)")
    return data


def log_id_of(body: Mapping[str, Any]) -> str:
    """The client's own name of the request, else a new one."""
    given = body.get("logId")
    if given is None:
        return str(uuid.uuid4())
    if not isinstance(given, str) or len(given) > LONGEST_TEXT or not given.isprintable():
        raise Refusal(422, f"logId: expected a string of at most {LONGEST_TEXT} printable characters")
    return given


def within_limits(options: dict[str, Any]) -> dict[str, Any]:
    """Options of PaddleX's schema (camelCase) that the models can take; raises Refusal for what cannot be meant."""
    made = dict(options)
    _bounded(made, "temperature", 0, 2)
    _bounded(made, "topP", 0, 1)
    _bounded(made, "repetitionPenalty", 0.01, 2)
    for name, check in (("layoutThreshold", _threshold), ("layoutUnclipRatio", _ratio), ("layoutMergeBboxesMode", str)):
        if isinstance(value := made.get(name), dict):
            made[name] = {_class(key, name): check(of_class) for key, of_class in value.items()}
        elif value is not None:
            made[name] = check(value)
    if made.get("maxNewTokens") is not None:
        made["maxNewTokens"] = min(made["maxNewTokens"], MAX_NEW_TOKENS)
    if made.get("maxPixels") is not None:
        made["maxPixels"] = _pixels(made["maxPixels"])
    if made.get("minPixels") is not None:
        made["minPixels"] = min(_pixels(made["minPixels"]), made.get("maxPixels") or MOST_MIN_PIXELS, MOST_MIN_PIXELS)
    labels = made.get("markdownIgnoreLabels")
    if labels is not None and (len(labels) > CLASSES or any(len(label) > LONGEST_TEXT for label in labels)):
        raise Refusal(422, f"markdownIgnoreLabels: expected at most {CLASSES} short names")
    made["vlmExtraArgs"] = _extra(made.get("vlmExtraArgs") or {})
    return made


def _extra(given: dict[str, Any]) -> dict[str, int]:
    unknown = sorted(set(given) - EXTRA)
    if unknown:
        raise Refusal(422, f"vlmExtraArgs: found {unknown[0]!r:.80}, expected only {', '.join(sorted(EXTRA))}")
    made = {}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise Refusal(422, f"vlmExtraArgs.{name}: found {_kind(value)}, expected a whole number above 0")
        made[name] = _pixels(value)
    for task in {name.partition("_")[0] for name in made}:
        most = min(made.get(f"{task}_max_pixels", MOST_MIN_PIXELS), MOST_MIN_PIXELS)
        if made.get(f"{task}_min_pixels", 0) > most:
            made[f"{task}_min_pixels"] = most
    return made


def _pixels(value: int) -> int:
    return max(FEWEST_PIXELS, min(value, MOST_PIXELS))


def _bounded(options: dict[str, Any], name: str, least: float, most: float) -> None:
    value = options.get(name)
    if value is not None and not least <= value <= most:
        raise Refusal(422, f"{name}: found {value}, expected {least} to {most}")


def _class(key: Any, name: str) -> int:
    """A class of the layout network by its number, which JSON writes as text."""
    if not str(key).isdigit() or int(key) >= CLASSES:
        raise Refusal(422, f"{name}: found {key!r:.80}, expected the number of a class")
    return int(key)


def _threshold(value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise Refusal(422, f"layoutThreshold: found {_kind(value)}, expected 0 to 1")
    return float(value)


def _ratio(value: Any) -> Any:
    pair = [value, value] if _is_number(value) else value
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(_is_number(part) for part in pair):
        raise Refusal(422, f"layoutUnclipRatio: found {_kind(value)}, expected a number or two")
    if not all(0 < part <= MOST_UNCLIP for part in pair):
        raise Refusal(
            422, f"layoutUnclipRatio: found {list(pair)}, expected numbers above 0 and at most {MOST_UNCLIP:.0f}"
        )
    return value if _is_number(value) else tuple(pair)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__
