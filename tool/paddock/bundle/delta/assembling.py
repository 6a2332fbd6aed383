"""Applying recipes: making a layer's raw tar for the classic store, or its exact blob for containerd's.

Everything is read from the base layers and the recipe as it is needed. What comes out is compared with its
digest, and is never more than was declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from paddock.bundle.delta.recipe import Extent, Recipe, Step, read
from paddock.bundle.format.frames import STEP, Frame, FramedBlob, ReadAt, decompress
from paddock.bundle.format.manifest import Compression, Layer
from paddock.bundle.format.reader import OpenBlob, OpenBundle
from paddock.bundle.layers.carried import FramedLayer
from paddock.bundle.layers.framewriter import CompressedFrame, FrameCompressor
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer, checked
from paddock.errors import BundleError

_WRONG_BASE = (
    "a base layer of this site is not what it is named, or the tool is not the bundle's; carry a full bundle"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembly:
    """A recipe with everything that is needed to apply it.

    `read_at` reads from the recipe's blob, `bases` are the base layers in the recipe's order, `compression`
    is how the layer's blob is made, and `where` begins the messages of errors. Each call of a method reads
    everything again; two must not run at the same time unless the base layers are safe for several threads.
    """

    recipe: Recipe
    read_at: ReadAt
    bases: Sequence[RawLayer]
    compression: Compression
    where: str

    def stream(self) -> Iterator[bytes]:
        """The raw layer in pieces of at most 1 MiB.

        Raises BundleError after the last piece when its diff id is not right.
        """
        new = _NewBytes(self)
        pieces = (piece for step in self.recipe.steps for piece in self._pieces(step, new))
        yield from checked(_joined(pieces), self.recipe.diff_id, where=self.where, hint=_WRONG_BASE)

    def blob(self, digest: str, compressor: FrameCompressor) -> Iterator[bytes]:
        """The layer's blob. Raises BundleError after the last frame when its digest is not `digest`.

        Frames that the blob of a base has, too, are copied; all others are compressed again, as they were in
        the workshop.
        """
        yield from checked(compressor.compress(self._frames()), digest, where=self.where, hint=_WRONG_BASE)

    def _frames(self) -> Iterator[bytes | CompressedFrame]:
        """The frames of the blob: as a base has them, or their raw bytes."""
        new = _NewBytes(self)
        compressed = _CompressedFrames(self)
        for steps in _by_frame(self.recipe):
            frame = compressed.find(steps)
            yield frame or b"".join(piece for step in steps for piece in self._pieces(step, new))

    def _pieces(self, step: Step, new: _NewBytes) -> Iterator[bytes]:
        if isinstance(step, int):
            yield from new.take(step)
        else:
            for offset in range(step.offset, step.end, STEP):
                yield self.bases[step.base].read_at(offset, min(STEP, step.end - offset))


@contextmanager
def open_recipe(bundle: OpenBundle, layer: Layer, source: LayerSource) -> Iterator[Assembly]:
    """The recipe that `bundle` carries for `layer`, with its base layers from `source`.

    Raises BundleError where the recipe is not for this layer, or a base is missing or of the wrong size.
    """
    blob, where = _recipe_blob(bundle, layer)
    recipe = recipe_of(bundle, layer)
    with ExitStack() as stack:
        bases = [stack.enter_context(source.open(base.diff_id)) for base in recipe.bases]
        for base, layer_of_site in zip(recipe.bases, bases, strict=True):
            if layer_of_site.size != base.raw_size:
                raise BundleError(
                    f"base layer {base.diff_id}: has {layer_of_site.size} bytes, expected {base.raw_size}"
                )
        compression = bundle.manifest.compression
        yield Assembly(recipe=recipe, read_at=blob.read_at, bases=bases, compression=compression, where=where)


def recipe_of(bundle: OpenBundle, layer: Layer) -> Recipe:
    """The recipe that `bundle` carries for `layer`.

    Raises BundleError where it is damaged, or for another layer.
    """
    blob, where = _recipe_blob(bundle, layer)
    recipe = read(blob.read_at, blob.size, where=where)
    if (recipe.diff_id, recipe.raw_size) != (layer.diff_id, layer.raw_size):
        raise BundleError(
            f"{where}: makes layer {recipe.diff_id} of {recipe.raw_size} bytes, "
            f"expected {layer.diff_id} of {layer.raw_size}"
        )
    return recipe


def _recipe_blob(bundle: OpenBundle, layer: Layer) -> tuple[OpenBlob, str]:
    """The blob of a layer's recipe, and its name in messages."""
    if layer.recipe is None:
        raise BundleError(f"layer {layer.diff_id}: bundle {bundle.manifest.id} has no recipe for it")
    return bundle.open_blob(layer.recipe), f"the recipe {layer.recipe}"


class _NewBytes:
    """The new bytes of a recipe, group by group."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._groups = iter(assembly.recipe.groups)
        self._held = memoryview(b"")

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes; the recipe has been checked to have them."""
        while size:
            if not self._held:
                self._held = memoryview(self._next_group())
            piece = self._held[: min(size, STEP)]
            self._held = self._held[len(piece) :]
            size -= len(piece)
            yield bytes(piece)

    def _next_group(self) -> bytes:
        assembly, group = self._assembly, next(self._groups)
        prefix = b"".join(
            assembly.bases[extent.base].read_at(extent.offset, extent.size) for extent in group.prefix
        )
        packed = assembly.read_at(group.offset, group.packed)
        return decompress(packed, group.size, prefix=prefix, where=assembly.where)


class _CompressedFrames:
    """Frames of the bases' blobs, of which some are frames of the new blob, too."""

    def __init__(self, assembly: Assembly) -> None:
        self._blobs: dict[int, FramedBlob] = {}
        self._frames: dict[tuple[int, int, int], Frame] = {}
        for number, (base, layer) in enumerate(zip(assembly.recipe.bases, assembly.bases, strict=True)):
            if not isinstance(layer, FramedLayer):
                continue
            if layer.digest == base.digest or layer.compression == assembly.compression:
                self._blobs[number] = layer.blob
                for frame in layer.blob.frames:
                    self._frames[number, frame.raw_offset, frame.raw_size] = frame

    def find(self, steps: Sequence[Step]) -> CompressedFrame | None:
        """The frame that these steps make, where a base has it."""
        step = steps[0]
        if len(steps) != 1 or isinstance(step, int):
            return None
        frame = self._frames.get((step.base, step.offset, step.size))
        return CompressedFrame(data=self._blobs[step.base].compressed(frame)) if frame else None


def _by_frame(recipe: Recipe) -> Iterator[list[Step]]:
    """The steps that make each frame of the blob; those that cross a boundary are split."""
    steps = iter(recipe.steps)
    rest: Step = 0
    for size in recipe.frames:
        frame: list[Step] = []
        missing = size
        while missing:
            rest = rest or next(steps)
            taken, rest = _split(rest, missing)
            frame.append(taken)
            missing -= taken if isinstance(taken, int) else taken.size
        yield frame


def _split(step: Step, size: int) -> tuple[Step, Step]:
    """The first `size` bytes of a step, and the rest of it, which is 0 where there is none."""
    if isinstance(step, int):
        return min(step, size), max(step - size, 0)
    if step.size <= size:
        return step, 0
    first = Extent(base=step.base, offset=step.offset, size=size)
    rest = Extent(base=step.base, offset=step.offset + size, size=step.size - size)
    return first, rest


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces, each of at most 1 MiB."""
    held = bytearray()
    for piece in pieces:
        if held and len(held) + len(piece) > STEP:
            yield bytes(held)
            held.clear()
        held += piece
    if held:
        yield bytes(held)
