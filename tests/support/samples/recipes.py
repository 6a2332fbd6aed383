"""Recipes of layers in memory, made and applied: what tests of deltas share."""

from __future__ import annotations

import io
import tarfile
from array import array
from collections.abc import Sequence

from layer_files import MemoryLayer, noise
from paddock.bundle.delta import recipe
from paddock.bundle.delta.assembling import Assembly
from paddock.bundle.delta.making import Bases, OpenBase, WrittenRecipe, write_recipe
from paddock.bundle.format.frames import FramedBlob
from paddock.bundle.format.manifest import Compression
from paddock.bundle.layers import cut
from paddock.bundle.layers.carried import FramedLayer
from paddock.bundle.layers.framewriter import FrameCompressor, own_compression
from paddock.bundle.layers.rawlayer import RawLayer
from small_images import digest

OWN = own_compression()


def tar(members: Sequence[tuple[str, bytes, int]]) -> bytes:
    """A layer of members, each a name, a body and a time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, body, time in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(body), time
            archive.addfile(member, io.BytesIO(body))
    return out.getvalue()


def written(new: MemoryLayer, *bases: RawLayer, most: int = 1 << 40) -> tuple[bytes, WrittenRecipe | None]:
    """The bytes of a recipe, and what was said of it; None where it would have more than `most` bytes."""
    out = io.BytesIO()
    frames = array("Q", map(len, cut.frames(new.stream())))
    known = Bases([OpenBase(layer=base, digest=getattr(base, "digest", None)) for base in bases])
    done = write_recipe(new, frames, known, out, most=most)
    return out.getvalue(), done


def opened(data: bytes, *bases: RawLayer) -> Assembly:
    """A recipe in memory, ready to be applied to those of `bases` that it names."""
    source = MemoryLayer(data)
    parsed = recipe.read(source.read_at, source.size, where="the recipe")
    by_id = {base.diff_id: base for base in bases}
    return Assembly(
        recipe=parsed,
        read_at=source.read_at,
        bases=[by_id[base.diff_id] for base in parsed.bases],
        compression=OWN,
        where="the recipe",
    )


def blob_of(layer: MemoryLayer) -> bytes:
    """The blob of a layer."""
    with FrameCompressor() as compressor:
        return b"".join(compressor.compress(cut.frames(layer.stream())))


def framed(layer: MemoryLayer, compression: Compression | None = OWN) -> FramedLayer:
    """A layer that is read from its blob."""
    blob = MemoryLayer(blob_of(layer))
    frames = FramedBlob(blob.read_at, size=blob.size, raw_size=layer.size, where="the base")
    return FramedLayer(layer.diff_id, blob.diff_id, frames, compression)


def rebuilds(new: MemoryLayer, *bases: RawLayer) -> WrittenRecipe:
    """Make the recipe of a layer, and check that it gives the layer and its blob."""
    data, done = written(new, *bases)
    assert done is not None
    assert (done.size, done.digest, done.copied + done.new) == (len(data), digest(data), new.size)
    assembly = opened(data, *bases)
    pieces = list(assembly.stream())
    assert b"".join(pieces) == new.data
    assert max(map(len, pieces), default=0) <= 1 << 20
    blob = blob_of(new)
    with FrameCompressor() as compressor:
        assert b"".join(assembly.blob(digest(blob), compressor)) == blob
    return done


PACKAGES = [(f"site/p{number}/m.py", noise(40_000 + number, number), 7) for number in range(200)]
LIBRARY = noise(12_000_000, 999)
BASE = MemoryLayer(tar([*PACKAGES, ("site/lib.so", LIBRARY, 7)]))
