"""Making recipes: a new layer against what the site has, in one pass over the new layer.

`matching` says what is new; that is collected into groups, and each is compressed against the places that it
names as similar. Peak memory is the index, two groups with what is laid before them, and the tables of two
compressors.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO, Self

from paddock.bundle.delta.matching import BaseIndex, Known, Unknown
from paddock.bundle.delta.recipe import (
    LARGEST_GROUP,
    LARGEST_PREFIX,
    MAGIC,
    MOST_BASES,
    MOST_EXTENTS,
    MOST_STEPS,
    BaseLayer,
    Extent,
    Group,
    Recipe,
    Steps,
)
from paddock.bundle.delta.sitelayers import SiteLayers
from paddock.bundle.format.frames import Dictionary, as_prefix
from paddock.bundle.format.libzstd import compressing, zstd
from paddock.bundle.layers.framewriter import COMPRESSION
from paddock.bundle.layers.rawlayer import AnyLayers, LayerSource, RawLayer, checked

BEST, FAST = 19, 9  # levels of zstd
BEST_UP_TO = 32 << 20  # new bytes of a layer that get the best level, which takes 1 s for 2 MB
_THREADS = 2  # more would need more memory
_CHANGED = "files of the engine or of the base bundle were changed, or the disk is failing"
_Parameter = zstd.CompressionParameter
_TABLE = 21  # of the compressor, as a power of two: 8 MiB; the best level would take 100 MB more


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenRecipe:
    """A recipe as it was written: `copied` bytes of the layer are in bases, `new` ones in the recipe."""

    digest: str
    size: int
    bases: tuple[str, ...]
    copied: int
    new: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownLayer:
    """A layer that the site has. `digest` is its blob's there, if that was compressed as new blobs are."""

    layer: RawLayer
    digest: str | None = None


class Bases:
    """Base layers under one index, for the recipes of any number of new layers."""

    def __init__(self, layers: Sequence[KnownLayer]) -> None:
        self.layers = layers
        self.index = BaseIndex(total=sum(each.layer.size for each in layers))
        for each in layers:
            where = f"base layer {each.layer.diff_id}"
            self.index.add(checked(each.layer.stream(), each.layer.diff_id, where=where, hint=_CHANGED))


class Delta:
    """What one delta is made on; a context manager, which keeps the base layers open that recipes are made
    from.

    Those are the layers that the site has and the new images have not: what took their place is most like
    them.
    """

    def __init__(self, site: SiteLayers, engine: LayerSource, new: Collection[str]) -> None:
        self.site = site
        self._source = AnyLayers((*site.sources, engine))
        self._like = sorted(each for each in site.layers if each not in new and self._source.holds(each))
        self._stack = ExitStack()
        self._bases: Bases | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has_bases(self) -> bool:
        """Whether there is any layer that a recipe could be made from."""
        return bool(self._like)

    def recipe(
        self, layer: RawLayer, frames: array[int], out: BinaryIO, *, most: int
    ) -> WrittenRecipe | None:
        """Write the recipe of a layer that the site has not; None where it would take more than `most` bytes."""
        if self._bases is None:
            self._bases = Bases([self._known(each) for each in self._like])
        return write_recipe(layer, frames, self._bases, out, most=most)

    def _known(self, diff_id: str) -> KnownLayer:
        layer = self._stack.enter_context(self._source.open(diff_id))
        digest = self.site.described[diff_id].digest if diff_id in self.site.comparable else None
        return KnownLayer(layer=layer, digest=digest)


def write_recipe(
    layer: RawLayer, frames: array[int], bases: Bases, out: BinaryIO, *, most: int
) -> WrittenRecipe | None:
    """Write the recipe of `layer` to `out`; None, and a useless beginning, where it would have more than
    `most` bytes.

    `frames` are the raw sizes of the frames of the layer's blob.
    """
    with compressing(_THREADS, "pack") as threads:
        writer = _RecipeWriter(bases, out, threads)
        raw = checked(layer.stream(), layer.diff_id, where=f"layer {layer.diff_id}", hint=_CHANGED)
        for each in bases.index.match(raw):
            writer.add(each)
            if writer.size > most or writer.is_too_long():
                return None
        written = writer.finish(layer, frames)
    return written if written.size <= most else None


class _RecipeWriter:
    """What of a recipe is written, what is being compressed, and what is being collected."""

    def __init__(self, bases: Bases, out: BinaryIO, threads: ThreadPoolExecutor) -> None:
        self._bases, self._out, self._threads = bases, out, threads
        self._sha256 = hashlib.sha256()
        self.size = 0
        self._numbers: dict[
            int, int
        ] = {}  # of the bases that the recipe reads: theirs in the index, theirs in it
        self._steps, self._groups = Steps(), list[Group]()
        self._extents = self._copied = self._new = 0
        self._draft = _Draft()
        self._packing: deque[tuple[int, tuple[Extent, ...], Future[bytes]]] = deque()
        self._write(MAGIC)

    def add(self, chunk: Known | Unknown) -> None:
        if isinstance(chunk, Known):
            self._steps.append(self._numbered(chunk.source))
            self._copied += chunk.source.size
            return
        self._steps.append(len(chunk.data))
        self._new += len(chunk.data)
        near = chunk.near and self._numbered(chunk.near)
        if not self._draft.take(chunk.data, near):
            self._pack_draft()
            self._draft.take(chunk.data, near)

    def is_too_long(self) -> bool:
        """Whether no one would read this recipe."""
        return (
            len(self._steps) > MOST_STEPS or self._extents > MOST_EXTENTS or len(self._numbers) > MOST_BASES
        )

    def finish(self, layer: RawLayer, frames: array[int]) -> WrittenRecipe:
        self._pack_draft()
        while self._packing:
            self._write_group()
        used = [self._bases.layers[number] for number in self._numbers]
        recipe = Recipe(
            diff_id=layer.diff_id,
            raw_size=self._copied + self._new,
            bases=tuple(
                BaseLayer(diff_id=each.layer.diff_id, raw_size=each.layer.size, digest=each.digest)
                for each in used
            ),
            frames=frames,
            groups=tuple(self._groups),
            steps=self._steps,
        )
        self._write(recipe.tail())
        return WrittenRecipe(
            digest=f"sha256:{self._sha256.hexdigest()}",
            size=self.size,
            bases=tuple(each.layer.diff_id for each in used),
            copied=self._copied,
            new=self._new,
        )

    def _numbered(self, extent: Extent) -> Extent:
        return replace(extent, base=self._numbers.setdefault(extent.base, len(self._numbers)))

    def _pack_draft(self) -> None:
        """Give the draft to a thread, and begin another one."""
        draft, self._draft = self._draft, _Draft()
        if not draft.data:
            return
        if len(self._packing) == _THREADS:
            self._write_group()
        prefix = self._dictionary(draft.prefix)
        level = BEST if self._new <= BEST_UP_TO else FAST if prefix else COMPRESSION.level
        packing = self._threads.submit(
            _pack, bytes(draft.data), sum(each.size for each in draft.prefix), prefix, level
        )
        self._packing.append((len(draft.data), tuple(draft.prefix), packing))
        self._extents += len(draft.prefix)

    def _write_group(self) -> None:
        size, prefix, packing = self._packing.popleft()
        packed = packing.result()
        self._groups.append(Group(offset=self.size, packed=len(packed), size=size, prefix=prefix))
        self._write(packed)

    def _dictionary(self, prefix: Sequence[Extent]) -> Dictionary | None:
        """The bytes of these extents as compressors take them: the only copy that is kept."""
        originals = list(self._numbers)
        return as_prefix(
            b"".join(
                self._bases.layers[originals[each.base]].layer.read_at(each.offset, each.size)
                for each in prefix
            )
        )

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._sha256.update(data)
        self.size += len(data)


class _Draft:
    """A group that is being collected."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.prefix: list[Extent] = []
        self._laid = 0

    def take(self, data: bytes, near: Extent | None) -> bool:
        """Add these bytes; False, and nothing done, where they do not fit."""
        last = self.prefix[-1:]
        joined = _joined(last, near)
        laid = self._laid + sum(each.size for each in joined) - sum(each.size for each in last)
        if self.data and (len(self.data) + len(data) > LARGEST_GROUP or laid > LARGEST_PREFIX):
            return False
        self.data += data
        self.prefix[-1:] = joined
        self._laid = laid
        return True


def _joined(last: list[Extent], near: Extent | None) -> list[Extent]:
    """The last extent of a prefix and the next one; one extent where they overlap or touch."""
    if near is None or not last:
        return last if near is None else [near]
    before = last[0]
    if before.base != near.base or near.offset > before.end or near.end < before.offset:
        return [before, near]
    start = min(before.offset, near.offset)
    return [Extent(base=near.base, offset=start, size=max(before.end, near.end) - start)]


def _pack(data: bytes, before: int, prefix: Dictionary | None, level: int) -> bytes:
    """One frame; `before` is how many bytes `prefix` has."""
    options: dict[int, int] = {
        _Parameter.compression_level: level,
        _Parameter.enable_long_distance_matching: 1,
        _Parameter.window_log: max(
            10, (len(data) + before).bit_length()
        ),  # reaches the first byte of the prefix
        _Parameter.hash_log: _TABLE,
        _Parameter.chain_log: _TABLE,
    }
    return zstd.compress(data, options=options, zstd_dict=prefix)
