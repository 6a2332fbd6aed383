"""Making recipes: the binary diff of a new layer against the layers that a site has, in one pass.

`matching` says which chunks are new. These are collected into groups, and each group is compressed with the
places of the base layers that are likely to be similar as its prefix. Peak memory is the index, two groups
with their prefixes, and the tables of two compressors.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Self

from paddock.bundle.delta.matching import BaseIndex, Copied, New
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
from paddock.bundle.format.digests import digest_of
from paddock.bundle.format.frames import Dictionary, as_prefix
from paddock.bundle.format.libzstd import compression_threads, zstd
from paddock.bundle.layers.framewriter import LEVEL
from paddock.bundle.layers.rawlayer import AnyLayers, LayerSource, RawLayer, checked

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

BEST, FAST = 19, 9  # levels of zstd
BEST_UP_TO = 32 << 20  # new bytes of a layer that are compressed at the best level, at 2 MB a second
_THREADS = 2  # more would need more memory
_CHANGED = "files of the engine or of the base bundle were changed, or the disk is failing"
_TABLE_LOG = 21  # tables of the compressor of 8 MiB; those of the best level would take 100 MB more


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenRecipe:
    """A recipe that was written."""

    digest: str
    size: int
    bases: tuple[str, ...]  # diff ids
    copied: int  # bytes of the layer that come from bases
    new: int  # bytes of the layer that are in the recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBase:
    """A base layer that can be read.

    `digest` is that of its blob at the site, where that blob is compressed as new blobs are.
    """

    layer: RawLayer
    digest: str | None = None


class Bases:
    """Base layers under one index, for the recipes of any number of new layers."""

    def __init__(self, bases: Sequence[OpenBase]) -> None:
        self.bases = bases
        self.index = BaseIndex(total=sum(base.layer.size for base in bases))
        for base in bases:
            layer = base.layer
            where = f"base layer {layer.diff_id}"
            self.index.add(checked(layer.stream(), layer.diff_id, where=where, hint=_CHANGED))

    def read_at(self, extent: Extent) -> bytes:
        """The bytes of an extent, whose base is numbered as in the index."""
        return self.bases[extent.base].layer.read_at(extent.offset, extent.size)


class Delta:
    """The layers that a delta is made on; a context manager that keeps base layers open.

    Recipes are made from the layers that the site has and the new images do not: whatever took their place is
    most similar to them.
    """

    def __init__(self, site: SiteLayers, engine: LayerSource, new: Collection[str]) -> None:
        self.site = site
        self._source = AnyLayers((*site.sources, engine))
        replaced = site.layers - set(new)
        self._replaced = sorted(diff_id for diff_id in replaced if self._source.holds(diff_id))
        self._stack = ExitStack()
        self._bases: Bases | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has_bases(self) -> bool:
        """Whether there is any layer that a recipe could be made from."""
        return bool(self._replaced)

    def recipe(
        self, layer: RawLayer, frames: array[int], out: BinaryIO, *, most: int
    ) -> WrittenRecipe | None:
        """Write the recipe of a layer that the site does not have, as `write_recipe` does."""
        if self._bases is None:
            self._bases = Bases([self._open(diff_id) for diff_id in self._replaced])
        return write_recipe(layer, frames, self._bases, out, most=most)

    def _open(self, diff_id: str) -> OpenBase:
        layer = self._stack.enter_context(self._source.open(diff_id))
        digest = self.site.described[diff_id].digest if diff_id in self.site.comparable else None
        return OpenBase(layer=layer, digest=digest)


def write_recipe(
    layer: RawLayer, frames: array[int], bases: Bases, out: BinaryIO, *, most: int
) -> WrittenRecipe | None:
    """Write the recipe of `layer` to `out`; `frames` are the raw sizes of the frames of its blob.

    Returns None, and leaves a useless beginning in `out`, where the recipe would have more than `most` bytes.
    """
    with compression_threads(_THREADS, "pack") as threads:
        writer = _RecipeWriter(bases, out, threads)
        raw = checked(layer.stream(), layer.diff_id, where=f"layer {layer.diff_id}", hint=_CHANGED)
        for chunk in bases.index.match(raw):
            writer.add(chunk)
            if writer.size > most or writer.is_too_long():
                return None
        written = writer.finish(layer, frames)
    return written if written.size <= most else None


class _RecipeWriter:
    """A recipe under way: what is written, what is being compressed, and what is being collected."""

    def __init__(self, bases: Bases, out: BinaryIO, threads: ThreadPoolExecutor) -> None:
        self._bases, self._out, self._threads = bases, out, threads
        self._sha256 = hashlib.sha256()
        self.size = 0
        self._numbers: dict[int, int] = {}  # numbers of bases in the index -> their numbers in the recipe
        self._steps = Steps()
        self._groups: list[Group] = []
        self._extents = self._copied = self._new = 0
        self._draft = _Draft()
        self._packing: deque[tuple[int, tuple[Extent, ...], Future[bytes]]] = deque()
        self._write(MAGIC)

    def add(self, chunk: Copied | New) -> None:
        if isinstance(chunk, Copied):
            self._steps.append(self._renumbered(chunk.source))
            self._copied += chunk.source.size
            return
        self._steps.append(len(chunk.data))
        self._new += len(chunk.data)
        near = self._renumbered(chunk.near) if chunk.near else None
        if not self._draft.take(chunk.data, near):
            self._pack_draft()
            self._draft.take(chunk.data, near)

    def is_too_long(self) -> bool:
        """Whether a reader would refuse this recipe for its length."""
        return (
            len(self._steps) > MOST_STEPS or self._extents > MOST_EXTENTS or len(self._numbers) > MOST_BASES
        )

    def finish(self, layer: RawLayer, frames: array[int]) -> WrittenRecipe:
        """Write what is left of the recipe."""
        self._pack_draft()
        while self._packing:
            self._write_group()
        used = [self._bases.bases[number] for number in self._numbers]
        recipe = Recipe(
            diff_id=layer.diff_id,
            raw_size=self._copied + self._new,
            bases=tuple(_described(base) for base in used),
            frames=frames,
            groups=tuple(self._groups),
            steps=self._steps,
        )
        self._write(recipe.tail())
        return WrittenRecipe(
            digest=digest_of(self._sha256),
            size=self.size,
            bases=tuple(base.layer.diff_id for base in used),
            copied=self._copied,
            new=self._new,
        )

    def _renumbered(self, extent: Extent) -> Extent:
        """An extent whose base has its number in the recipe instead of that in the index."""
        return replace(extent, base=self._numbers.setdefault(extent.base, len(self._numbers)))

    def _pack_draft(self) -> None:
        """Have the draft compressed in a thread, and begin another one."""
        draft, self._draft = self._draft, _Draft()
        if not draft.data:
            return
        if len(self._packing) == _THREADS:
            self._write_group()
        prefix = self._dictionary(draft.prefix)
        size = sum(extent.size for extent in draft.prefix)
        packing = self._threads.submit(_pack, bytes(draft.data), size, prefix, self._level(prefix))
        self._packing.append((len(draft.data), tuple(draft.prefix), packing))
        self._extents += len(draft.prefix)

    def _level(self, prefix: Dictionary | None) -> int:
        if self._new <= BEST_UP_TO:
            return BEST
        return FAST if prefix else LEVEL

    def _write_group(self) -> None:
        size, prefix, packing = self._packing.popleft()
        packed = packing.result()
        self._groups.append(Group(offset=self.size, packed=len(packed), size=size, prefix=prefix))
        self._write(packed)

    def _dictionary(self, prefix: Sequence[Extent]) -> Dictionary | None:
        """The bytes of these extents as compressors take them: the only copy that is kept."""
        in_index = list(self._numbers)
        extents = (replace(extent, base=in_index[extent.base]) for extent in prefix)
        return as_prefix(b"".join(self._bases.read_at(extent) for extent in extents))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._sha256.update(data)
        self.size += len(data)


def _described(base: OpenBase) -> BaseLayer:
    return BaseLayer(diff_id=base.layer.diff_id, raw_size=base.layer.size, digest=base.digest)


class _Draft:
    """A group that is being collected: new bytes, and the extents that are its prefix."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.prefix: list[Extent] = []
        self._prefix_size = 0

    def take(self, data: bytes, near: Extent | None) -> bool:
        """Add these bytes; False, and nothing done, where they do not fit."""
        last = self.prefix[-1:]
        joined = _joined(last, near)
        added = sum(extent.size for extent in joined) - sum(extent.size for extent in last)
        prefix_size = self._prefix_size + added
        too_large = len(self.data) + len(data) > LARGEST_GROUP or prefix_size > LARGEST_PREFIX
        if self.data and too_large:
            return False
        self.data += data
        self.prefix[-1:] = joined
        self._prefix_size = prefix_size
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


def _pack(data: bytes, prefix_size: int, prefix: Dictionary | None, level: int) -> bytes:
    """One frame of `data`, compressed with a prefix of `prefix_size` bytes."""
    window_log = (len(data) + prefix_size).bit_length()  # reaches back to the first byte of the prefix
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {
        parameter.compression_level: level,
        parameter.enable_long_distance_matching: 1,
        parameter.window_log: max(10, window_log),
        parameter.hash_log: _TABLE_LOG,
        parameter.chain_log: _TABLE_LOG,
    }
    return zstd.compress(data, options=options, zstd_dict=prefix)
