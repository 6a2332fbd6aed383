"""The format of recipes: how a layer is made from layers that a site has. It knows no tar; it moves bytes.

Like VCDIFF, a recipe is a sequence of steps that make the layer from its first byte to its last: each copies
an extent of a base layer or adds the next new bytes. The file is: magic, groups, instructions, length of the
instructions (8 bytes, little-endian). A group is one zstd frame of new bytes; it was compressed, and is
decompressed, with extents of base layers as its prefix. Instructions are one zstd frame of numbers in
columns. docs/reference/bundle-format.md has the details.

A recipe may be hostile: `read` checks every number against its bounds, and memory and output are bounded.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from paddock.bundle.format.frames import LARGEST_FRAME, MOST_FRAMES, ReadAt, decompress
from paddock.bundle.format.libzstd import zstd
from paddock.errors import BundleError

MAGIC = b"paddock-recipe/1\n"
LARGEST_GROUP = 4 << 20  # new bytes in one group
LARGEST_PREFIX = 8 << 20  # bytes of base layers that are the prefix of one group
MOST_STEPS = 2_000_000  # of one recipe; 24 bytes of memory each
MOST_EXTENTS = 500_000
MOST_BASES = 127
LARGEST_LAYER = 1 << 44  # bytes; no tar of a layer comes near
_TAIL = 8  # bytes of the length at the end
_LARGEST_NUMBER = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """`size` bytes from `offset` of the base layer with the number `base`."""

    base: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


Step = Extent | int  # an extent to copy, or how many of the next new bytes to add


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseLayer:
    """A layer that the recipe reads.

    `digest` is that of a blob of it whose frames may be copied, being compressed as the new layer's blob is;
    None where there is no such blob.
    """

    diff_id: str
    raw_size: int
    digest: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """New bytes: the `packed` bytes at `offset` of the recipe hold `size` bytes, compressed with `prefix`."""

    offset: int
    packed: int
    size: int
    prefix: tuple[Extent, ...]


class Steps:
    """The steps of a recipe, kept in little memory."""

    def __init__(self) -> None:
        self.sizes = array("Q")
        self._bases, self._offsets = array("b"), array("Q")

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Step]:
        for size, base, offset in zip(self.sizes, self._bases, self._offsets, strict=True):
            yield size if base < 0 else Extent(base=base, offset=offset, size=size)

    def append(self, step: Step) -> None:
        """Add a step; one that goes on where the last one ended extends that one instead."""
        base, offset, size = (-1, 0, step) if isinstance(step, int) else (step.base, step.offset, step.size)
        if self._goes_on(base, offset):
            self.sizes[-1] += size
        else:
            self.sizes.append(size)
            self._bases.append(base)
            self._offsets.append(offset)

    def _goes_on(self, base: int, offset: int) -> bool:
        if not self.sizes or self._bases[-1] != base:
            return False
        return base < 0 or self._offsets[-1] + self.sizes[-1] == offset


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How the layer `diff_id` of `raw_size` bytes is made.

    `frames` are the raw sizes of the frames of its blob.
    """

    diff_id: str
    raw_size: int
    bases: tuple[BaseLayer, ...]
    frames: array[int]
    groups: tuple[Group, ...]
    steps: Steps

    def tail(self) -> bytes:
        """What follows the groups in the file: the instructions and their length."""
        instructions = zstd.compress(_encoded(self), 19)
        return instructions + len(instructions).to_bytes(_TAIL, "little")


def read(read_at: ReadAt, size: int, *, where: str) -> Recipe:
    """The recipe in `size` bytes that `read_at` gives. Raises BundleError for anything that is not one."""
    if size < len(MAGIC) + _TAIL or read_at(0, len(MAGIC)) != MAGIC:
        raise BundleError(
            f"{where}: is not a recipe that this paddock can read, expected {MAGIC.decode().strip()}"
        )
    length = int.from_bytes(read_at(size - _TAIL, _TAIL), "little")
    end = size - _TAIL - length
    if length > LARGEST_FRAME or end < len(MAGIC):
        raise BundleError(f"{where}: found {length} bytes of instructions in a recipe of {size} bytes")
    recipe = _decoded(_instructions(read_at(end, length), where), where)
    _check(recipe, end, where)
    return recipe


def _instructions(packed: bytes, where: str) -> bytes:
    try:
        size = zstd.get_frame_info(packed).decompressed_size
    except zstd.ZstdError:
        size = None
    if size is None or size > LARGEST_FRAME:
        raise BundleError(f"{where}: found no instructions of at most {LARGEST_FRAME} bytes")
    return decompress(packed, size, where=where)


# --- instructions: numbers of variable length (LEB128), column by column ------------------------------------


class _Writer:
    """Instructions that are being encoded."""

    def __init__(self) -> None:
        self.data = bytearray()

    def number(self, value: int) -> None:
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def signed(self, value: int) -> None:
        """Write a number that may be negative, in zigzag encoding."""
        self.number(value << 1 if value >= 0 else (-value << 1) - 1)

    def column(self, values: Iterable[int]) -> None:
        for value in values:
            self.number(value)

    def digest(self, name: str | None) -> None:
        self.data += bytes(32) if name is None else bytes.fromhex(name.removeprefix("sha256:"))


class _Reader:
    """Instructions that are being decoded. Its methods raise BundleError for what is not there."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._position, self._where = data, 0, where

    def number(self, most: int = _LARGEST_NUMBER) -> int:
        value = shift = 0
        data, position = self._data, self._position
        while position < len(data):
            byte = data[position]
            value |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                self._position = position
                return self.require(value, most)
            if shift > 63:
                break
        raise BundleError(f"{self._where}: the instructions end inside a number")

    def require(self, value: int, most: int) -> int:
        """The value, unless it is larger than it may be."""
        if value > most:
            raise BundleError(f"{self._where}: found {value} in the instructions, expected at most {most}")
        return value

    def signed(self) -> int:
        value = self.number()
        return -(value + 1 >> 1) if value & 1 else value >> 1

    def digest(self) -> str:
        data = self._data[self._position : self._position + 32]
        self._position += 32
        if len(data) != 32:
            raise BundleError(f"{self._where}: the instructions end inside a digest")
        return f"sha256:{data.hex()}"

    def end(self) -> None:
        left = len(self._data) - self._position
        if left > 0:
            raise BundleError(f"{self._where}: found {left} bytes behind the instructions")


_NO_DIGEST = f"sha256:{bytes(32).hex()}"


class _Offsets:
    """Offsets of extents as distances from the end of the last extent of the same base: small numbers."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}

    def distance(self, extent: Extent) -> int:
        distance = extent.offset - self._ends.get(extent.base, 0)
        self._ends[extent.base] = extent.end
        return distance

    def extent(self, base: int, distance: int, size: int) -> Extent:
        extent = Extent(base=base, offset=self._ends.get(base, 0) + distance, size=size)
        self._ends[base] = extent.end
        return extent


def _encoded(recipe: Recipe) -> bytes:
    out = _Writer()
    out.digest(recipe.diff_id)
    out.number(recipe.raw_size)
    out.number(len(recipe.bases))
    for base in recipe.bases:
        out.digest(base.diff_id)
        out.number(base.raw_size)
        out.digest(base.digest)
    out.number(len(recipe.frames))
    out.column(recipe.frames)
    out.number(len(recipe.groups))
    out.column(group.packed for group in recipe.groups)
    out.column(group.size for group in recipe.groups)
    out.column(len(group.prefix) for group in recipe.groups)
    _write_extents(out, [extent for group in recipe.groups for extent in group.prefix])
    out.number(len(recipe.steps))
    out.column(step << 1 if isinstance(step, int) else step.size << 1 | 1 for step in recipe.steps)
    _write_bases_and_offsets(out, lambda: (step for step in recipe.steps if isinstance(step, Extent)))
    return bytes(out.data)


def _write_extents(out: _Writer, extents: list[Extent]) -> None:
    out.column(extent.size for extent in extents)
    _write_bases_and_offsets(out, lambda: iter(extents))


def _write_bases_and_offsets(out: _Writer, extents: Callable[[], Iterator[Extent]]) -> None:
    offsets = _Offsets()
    out.column(extent.base for extent in extents())
    for extent in extents():
        out.signed(offsets.distance(extent))


def _decoded(data: bytes, where: str) -> Recipe:
    reader = _Reader(data, where)
    diff_id, raw_size = reader.digest(), reader.number(LARGEST_LAYER)
    bases = tuple(_base(reader) for _ in range(reader.number(MOST_BASES)))
    frames = array("Q", (reader.number(LARGEST_FRAME) for _ in range(reader.number(MOST_FRAMES))))
    groups = _groups(reader, bases)
    steps = _steps(reader, bases, raw_size)
    reader.end()
    return Recipe(diff_id=diff_id, raw_size=raw_size, bases=bases, frames=frames, groups=groups, steps=steps)


def _base(reader: _Reader) -> BaseLayer:
    diff_id, raw_size, digest = reader.digest(), reader.number(LARGEST_LAYER), reader.digest()
    return BaseLayer(diff_id=diff_id, raw_size=raw_size, digest=None if digest == _NO_DIGEST else digest)


def _groups(reader: _Reader, bases: tuple[BaseLayer, ...]) -> tuple[Group, ...]:
    count = reader.number(MOST_EXTENTS)
    packed = [reader.number() for _ in range(count)]
    sizes = [reader.number(LARGEST_GROUP) for _ in range(count)]
    lengths = [reader.number(MOST_EXTENTS) for _ in range(count)]
    reader.require(sum(lengths), MOST_EXTENTS)
    extents = _extents(reader, [reader.number() for _ in range(sum(lengths))], bases)
    groups: list[Group] = []
    offset = len(MAGIC)
    for number in range(count):
        prefix = tuple(next(extents) for _ in range(lengths[number]))
        reader.require(sum(extent.size for extent in prefix), LARGEST_PREFIX)
        groups.append(Group(offset=offset, packed=packed[number], size=sizes[number], prefix=prefix))
        offset += packed[number]
    return tuple(groups)


def _extents(reader: _Reader, sizes: Iterable[int], bases: tuple[BaseLayer, ...]) -> Iterator[Extent]:
    """The extents of these sizes, each inside its base, from the columns of their bases and offsets."""
    sizes = array("Q", sizes)
    numbers = array("b", (reader.number(len(bases) - 1) for _ in sizes))
    offsets = _Offsets()
    for size, base in zip(sizes, numbers, strict=True):
        extent = offsets.extent(base, reader.signed(), size)
        reader.require(extent.end if extent.offset >= 0 else _LARGEST_NUMBER, bases[base].raw_size)
        yield extent


def _steps(reader: _Reader, bases: tuple[BaseLayer, ...], raw_size: int) -> Steps:
    codes = array("Q", (reader.number() for _ in range(reader.number(MOST_STEPS))))
    reader.require(sum(code >> 1 for code in codes), raw_size)
    copies = _extents(reader, (code >> 1 for code in codes if code & 1), bases)
    steps = Steps()
    for code in codes:
        steps.append(next(copies) if code & 1 else code >> 1)
    return steps


# --- what the numbers of a recipe mean together -------------------------------------------------------------


def _check(recipe: Recipe, end: int, where: str) -> None:
    new = sum(step for step in recipe.steps if isinstance(step, int))
    for what, found, expected in (
        ("steps for {} bytes", sum(recipe.steps.sizes), recipe.raw_size),
        ("frames for {} bytes", sum(recipe.frames), recipe.raw_size),
        ("{} new bytes", sum(group.size for group in recipe.groups), new),
        ("groups up to byte {}", len(MAGIC) + sum(group.packed for group in recipe.groups), end),
    ):
        if found != expected:
            raise BundleError(f"{where}: found {what.format(found)}, expected {expected}")
    prefixes = sum(extent.size for group in recipe.groups for extent in group.prefix)
    most = 16 * recipe.raw_size + LARGEST_PREFIX
    if prefixes > most:
        raise BundleError(f"{where}: found {prefixes} bytes of base layers to read, expected at most {most}")
