"""Deltas of layers: whatever two layers are, the recipe makes the second from the first, to the byte."""

from __future__ import annotations

import io
import tarfile
from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from paddock.bundle.delta import recipe
from paddock.bundle.delta.assembling import Assembly
from paddock.bundle.delta.making import Bases, KnownLayer, WrittenRecipe, write_recipe
from paddock.bundle.format.frames import FramedBlob
from paddock.bundle.format.libzstd import zstd
from paddock.bundle.format.manifest import Compression
from paddock.bundle.layers import cut
from paddock.bundle.layers.carried import FramedLayer
from paddock.bundle.layers.framewriter import COMPRESSION, FrameCompressor, Ready
from paddock.errors import BundleError
from samples.bundles import noise, sha256

NAMES = some.sampled_from(["a", "pkg/b.py", "pkg-1.0/m.py", "pkg-1.1/m.py", "lib.so", "lib2.so", "n" * 200])
PIECES = some.sampled_from([noise(number, size) for number, size in enumerate([0, 1, 700, 90_000, 300_000])])
BODIES = some.lists(PIECES, max_size=4).map(b"".join)
MEMBERS = some.lists(some.tuples(NAMES, BODIES, some.integers(0, 2)), max_size=6)


class Layer:
    """A raw layer in memory that can only be read inside its bounds."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.diff_id = data, len(data), sha256(data)

    def read_at(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size, "read outside the layer"
        return self.data[offset : offset + length]

    def stream(self):
        for start in range(0, self.size, 70_001):
            yield self.data[start : start + 70_001]


def tar(members: list[tuple[str, bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, body, time in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(body), time
            archive.addfile(member, io.BytesIO(body))
    return out.getvalue()


def written(new: Layer, *bases: Layer, most: int = 1 << 40) -> tuple[bytes, WrittenRecipe | None]:
    out = io.BytesIO()
    frames = array("Q", map(len, cut.frames(new.stream())))
    known = Bases([KnownLayer(layer=each, digest=getattr(each, "digest", None)) for each in bases])
    done = write_recipe(new, frames, known, out, most=most)
    return out.getvalue(), done


def opened(data: bytes, *bases: Layer) -> Assembly:
    source = Layer(data)
    found = recipe.read(source.read_at, source.size, where="the recipe")
    by_id = {each.diff_id: each for each in bases}
    return Assembly(
        recipe=found,
        read_at=source.read_at,
        bases=[by_id[each.diff_id] for each in found.bases],
        compression=COMPRESSION,
        where="the recipe",
    )


def blob_of(layer: Layer) -> bytes:
    with FrameCompressor() as compressor:
        return b"".join(compressor.compressed(cut.frames(layer.stream())))


def framed(layer: Layer, compression: Compression | None = COMPRESSION) -> FramedLayer:
    blob = Layer(blob_of(layer))
    frames = FramedBlob(blob.read_at, size=blob.size, raw_size=layer.size, where="the base")
    return FramedLayer(layer.diff_id, blob.diff_id, frames, compression)


def rebuilds(new: Layer, *bases: Layer) -> WrittenRecipe:
    data, done = written(new, *bases)
    assert done is not None
    assert (done.size, done.digest, done.copied + done.new) == (len(data), sha256(data), new.size)
    assembly = opened(data, *bases)
    pieces = list(assembly.stream())
    assert b"".join(pieces) == new.data
    assert max(map(len, pieces), default=0) <= 1 << 20
    blob = blob_of(new)
    with FrameCompressor() as compressor:
        assert b"".join(assembly.blob(sha256(blob), compressor)) == blob
    return done


@given(old=MEMBERS, new=MEMBERS, cut_at=some.integers(0, 3000))
@settings(max_examples=40)
def test_any_layer_from_any_other_one(old, new, cut_at: int) -> None:
    data = tar(new)
    rebuilds(Layer(data[: len(data) - cut_at]), Layer(tar(old)))


@given(old=some.binary(max_size=3000), new=some.binary(max_size=3000))
@settings(max_examples=30)
def test_what_is_no_tar(old: bytes, new: bytes) -> None:
    rebuilds(Layer(new), Layer(old), Layer(old + new))


# --- what it costs ------------------------------------------------------------------------------------------

PACKAGES = [(f"site/p{number}/m.py", noise(number, 40_000 + number), 7) for number in range(200)]
LIBRARY = noise(999, 12_000_000)
BASE = Layer(tar([*PACKAGES, ("site/lib.so", LIBRARY, 7)]))


def test_equal_layers_cost_nothing() -> None:
    done = rebuilds(BASE, BASE)
    assert (done.new, done.size < 600) == (0, True)


def test_one_changed_package_costs_its_change() -> None:
    changed = [("site/p9/m.py", noise(9, 40_009)[:20_000] + b"# a new line\n" + noise(9, 40_009)[20_000:], 8)]
    done = rebuilds(Layer(tar([*PACKAGES[:9], *changed, *PACKAGES[10:], ("site/lib.so", LIBRARY, 7)])), BASE)
    assert done.new < 50_000
    assert done.size < 1000


def test_new_times_cost_headers_only() -> None:
    done = rebuilds(
        Layer(tar([(name, body, 9) for name, body, _ in [*PACKAGES, ("site/lib.so", LIBRARY, 7)]])), BASE
    )
    assert done.new < 1024 * 202
    assert done.size < 3000


def test_a_version_in_a_path_does_not_hide_the_file_before() -> None:
    old = Layer(tar([("site/p-1.0.dist-info/RECORD", noise(1, 60_000), 7)]))
    done = rebuilds(Layer(tar([("site/p-1.1.dist-info/RECORD", noise(1, 60_000)[:-1] + b"!", 7)])), old)
    assert done.size < 1000


def test_scattered_changes_in_a_large_file_are_patched() -> None:
    library = bytearray(LIBRARY)
    for place in range(500, len(library), 30_000):  # no chunk stays as it was
        library[place] ^= 1
    moved = noise(1000, 100_000) + bytes(library)
    done = rebuilds(Layer(tar([*PACKAGES, ("site/lib.so", moved, 7)])), BASE)
    assert done.new > 10_000_000
    assert done.size < 100_000 + 30_000


def test_bytes_come_from_several_bases_and_only_those_are_named() -> None:
    other, unused = Layer(tar([("x", noise(70, 500_000), 1)])), Layer(tar([("y", noise(71, 500_000), 1)]))
    new = Layer(tar([("site/lib.so", LIBRARY, 7), ("x", noise(70, 500_000), 1)]))
    done = rebuilds(new, unused, BASE, other)
    assert done.bases == (BASE.diff_id, other.diff_id)
    assert done.size < 2000


def test_a_recipe_that_gains_nothing_is_given_up() -> None:
    _, done = written(Layer(noise(5, 200_000)), BASE, most=100_000)
    assert done is None


# --- blobs --------------------------------------------------------------------------------------------------


class OneFrame(FrameCompressor):
    """Counts what had to be compressed."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = 0

    def compressed(self, frames):
        return super().compressed(self._counted(frames))

    def _counted(self, frames):
        for frame in frames:
            self.raw += not isinstance(frame, Ready)
            yield frame


@pytest.mark.parametrize(
    ("base", "at_the_site", "taken"),
    [
        (framed(BASE), framed(BASE, None), True),  # the recipe names the blob
        (BASE, framed(BASE), True),  # the site knows how it was made
        (BASE, framed(BASE, None), False),
        (BASE, framed(BASE, replace(COMPRESSION, level=4)), False),
    ],
)
def test_frames_of_the_base_blob_are_taken_as_they_are(
    base: Layer, at_the_site: FramedLayer, taken: bool
) -> None:
    new = Layer(tar([*PACKAGES[:150], ("site/lib.so", LIBRARY, 7)]))
    data, _ = written(new, base)
    blob = blob_of(new)
    with OneFrame() as compressor:
        assert b"".join(opened(data, at_the_site).blob(sha256(blob), compressor)) == blob
        frames = len(opened(data, at_the_site).recipe.frames)
        assert (compressor.raw < frames / 2) if taken else (compressor.raw == frames)


# --- what must be noticed -----------------------------------------------------------------------------------


def test_a_wrong_base_is_noticed() -> None:
    new = Layer(tar([*PACKAGES, ("site/lib.so", LIBRARY + b"more", 7)]))
    data, _ = written(new, BASE)
    wrong = Layer(BASE.data[:100_000] + b"?" + BASE.data[100_001:])
    wrong.diff_id = BASE.diff_id
    with pytest.raises(BundleError, match="the recipe: found sha256:"):
        list(opened(data, wrong).stream())
    with pytest.raises(BundleError, match="the recipe: found sha256:"), FrameCompressor() as compressor:
        list(opened(data, wrong).blob(sha256(blob_of(new)), compressor))


def test_a_layer_that_reads_differently_is_noticed() -> None:
    lying = Layer(BASE.data)
    lying.diff_id = sha256(b"")
    with pytest.raises(BundleError, match="base layer sha256:"):
        written(BASE, lying)
    with pytest.raises(BundleError, match="layer sha256:"):
        written(lying, BASE)


NEW = Layer(
    tar([PACKAGES[5], ("site/p9/m.py", noise(9, 40_009)[:-9] + b"!", 7), ("new", noise(77, 3000), 1)])
)
GOOD, _ = written(NEW, BASE)
GOOD_RECIPE = opened(GOOD, BASE).recipe
GROUPS_END = len(GOOD) - len(GOOD_RECIPE.tail())


def with_instructions(**values) -> bytes:
    return GOOD[:GROUPS_END] + replace(GOOD_RECIPE, **values).tail()


def steps(*every: recipe.Step) -> recipe.Steps:
    made = recipe.Steps()
    for each in every:
        made.append(each)
    return made


def extent(offset: int, size: int) -> recipe.Extent:
    return recipe.Extent(base=0, offset=offset, size=size)


GROUP = GOOD_RECIPE.groups[0]
NEW_BYTES = sum(each for each in GOOD_RECIPE.steps if isinstance(each, int))
REST = NEW.size - NEW_BYTES


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no recipe that this paddock can read"),
        (b"x" * 100, "is no recipe"),
        (GOOD[:-1], "bytes of instructions|no instructions"),
        (GOOD[:-8] + (1 << 62).to_bytes(8, "little"), "bytes of instructions"),
        (GOOD[:-8] + bytes(8), "found no instructions"),
        (with_instructions(frames=array("Q", [1])), "frames for 1 bytes, expected"),
        (with_instructions(raw_size=NEW.size - 1), "expected at most"),
        (with_instructions(raw_size=NEW.size + 1), "steps for .* bytes, expected"),
        (with_instructions(groups=()), "found 0 new bytes"),
        (with_instructions(groups=(replace(GROUP, size=1 << 30),)), "expected at most 4194304"),
        (with_instructions(groups=(replace(GROUP, packed=GROUP.packed + 1),)), "groups up to byte"),
        (with_instructions(groups=(replace(GROUP, prefix=(extent(BASE.size, 1),)),)), f"at most {BASE.size}"),
        (with_instructions(groups=(replace(GROUP, prefix=(extent(0, BASE.size),) * 9),)), "at most 8388608"),
        (
            with_instructions(steps=steps(NEW_BYTES, extent(BASE.size - 5, REST))),
            f"expected at most {BASE.size}",
        ),
        (
            with_instructions(groups=(replace(GROUP, prefix=(extent(-5, 9),)),)),
            f"expected at most {BASE.size}",
        ),
        (with_instructions(steps=steps(NEW_BYTES, extent(1 << 60, REST))), f"expected at most {BASE.size}"),
        (with_instructions(bases=()), "expected at most -1"),
        (with_instructions(steps=steps(NEW.size)), f"found {NEW_BYTES} new bytes"),
    ],
)
def test_a_hostile_recipe_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        opened(data, BASE)


@given(place=some.integers(0, len(GOOD) - 1), bit=some.integers(0, 7))
@settings(max_examples=100)
def test_a_changed_bit_never_gives_another_layer(place: int, bit: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= 1 << bit
    try:
        made = b"".join(opened(bytes(data), BASE).stream())
    except (BundleError, KeyError):
        return  # KeyError: this test has no base of the changed name
    assert made == NEW.data  # the bit was of the blob's frames or of a checksum


def test_instructions_cannot_be_a_bomb() -> None:
    bomb = zstd.compress(bytes(64 << 20))
    with pytest.raises(BundleError, match="found no instructions of at most"):
        opened(GOOD[:GROUPS_END] + bomb + len(bomb).to_bytes(8, "little"), BASE)


@given(junk=some.binary(max_size=400))
@settings(max_examples=100)
def test_any_bytes_as_instructions_are_refused_or_harmless(junk: bytes) -> None:
    packed = zstd.compress(junk)
    with pytest.raises(BundleError):
        opened(GOOD[:GROUPS_END] + packed + len(packed).to_bytes(8, "little"), BASE)
