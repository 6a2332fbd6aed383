"""Writing a bundle: images from the engine into parts, then everything that travels with them.

`gather` finds what is to be carried and refuses what does not fit together. In a full bundle each layer is
read once: it is hashed, searched for its software, cut, compressed and written as it passes. In a delta it is
first compressed for its digest alone, then written in the smallest form. The root manifest comes last, so a
directory without one is not a bundle; a stopped export goes on after the last whole layer.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paddock import __version__
from paddock.bundle.check.trust import sign_bundle
from paddock.bundle.delta.making import Delta
from paddock.bundle.delta.sitelayers import SiteLayers
from paddock.bundle.export import sbom
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.export.journal import NAME as JOURNAL
from paddock.bundle.export.journal import Finished, Journal, written_layers
from paddock.bundle.export.medium import medium_named, require_part_size
from paddock.bundle.export.partwriter import PARTIAL, PartWriter
from paddock.bundle.format import archive, digests
from paddock.bundle.format.manifest import (
    DELTA_ARCHIVE,
    FORMAT,
    FULL_ARCHIVE,
    MANIFEST,
    SIGNATURE,
    SUMS,
    Base,
    Blob,
    Carried,
    File,
    Image,
    Kind,
    Layer,
    Manifest,
)
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.signature import SecretKey
from paddock.bundle.layers import cut
from paddock.bundle.layers.framewriter import FrameCompressor, own_compression
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer, checked
from paddock.bundle.layers.softwarelist import SoftwareReader, overlaid
from paddock.durable import write_durably
from paddock.errors import BundleError, Interrupted, quoted
from paddock.report import Advance, Reporter

PART_SIZE = 3900 << 20  # bytes; fits on FAT32


def write_bundle(
    contents: Contents,
    folder: Path,
    source: LayerSource,
    *,
    report: Reporter,
    part_size: int = PART_SIZE,
    key: SecretKey | None = None,
    delta: Delta | None = None,
) -> Manifest:
    """Write the bundle into `folder`, or go on with it there, and sign it with `key`.

    It is a full bundle unless `delta` is given. Raises BundleError; what was written stays for the next
    attempt.
    """
    _prepare(folder)
    require_part_size(folder, part_size)
    journal = Journal(folder, _journal_key(contents, part_size, delta))
    try:
        with PartWriter(folder, DELTA_ARCHIVE if delta else FULL_ARCHIVE, part_size) as writer:
            _resume(journal, writer, report)
            with FrameCompressor() as compressor:
                exporter = _Exporter(writer=writer, compressor=compressor, delta=delta, spool=folder)
                _write_layers(contents.layers, source, exporter, journal, report)
            manifest = _describe(contents, writer, journal, delta)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{folder}: the export is not finished",
            hint="the same command goes on after the last whole layer",
        ) from None
    manifest = _write_files(manifest, contents, journal.finished, folder)
    if key is not None:
        with OpenBundle.open([folder]) as bundle:
            sign_bundle(bundle, key)
    journal.remove()
    return manifest


def finished_layers(folder: Path) -> frozenset[str]:
    """Diff ids of the layers that an unfinished export into `folder` need not write again."""
    return frozenset(finished.layer.diff_id for finished in written_layers(folder))


# --- the directory ------------------------------------------------------------------------------------------


def _prepare(folder: Path) -> None:
    """Make the directory, or see that nothing but an unfinished export is in it."""
    with medium_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
    if JOURNAL not in names and not all(name.startswith(JOURNAL) for name in names):
        raise _not_empty(folder, names)
    with medium_named(folder):  # an earlier run may have been stopped at its very end
        for name in (MANIFEST, SIGNATURE, SUMS):
            (folder / name).unlink(missing_ok=True)
        for stale in folder.rglob(f"*{PARTIAL}"):
            if not stale.name.startswith((f"{FULL_ARCHIVE}.", f"{DELTA_ARCHIVE}.")):
                stale.unlink()


def _not_empty(folder: Path, names: Sequence[str]) -> BundleError:
    if MANIFEST in names:
        return BundleError(
            f"{folder}: holds a finished bundle, expected an empty directory",
            hint=f"`paddock bundle inspect {quoted(folder)}` shows what is in it; name another directory",
        )
    listed = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return BundleError(
        f"{folder}: found {listed}, expected an empty directory",
        hint="a bundle is never mixed with other files; name another directory",
    )


def _journal_key(contents: Contents, part_size: int, delta: Delta | None) -> str:
    """A text that differs between exports that do not give the same bytes."""
    inputs = [
        FORMAT,
        __version__,
        [own_compression().level, own_compression().libzstd],
        part_size,
        [[image.reference, image.digest] for image in contents.images],
        [[file.path, digests.digest(file.data)] for file in contents.files],
        None if delta is None else [sorted(delta.site.layers), delta.site.bundles],
    ]
    return digests.sha256(json.dumps(inputs).encode())


def _resume(journal: Journal, writer: PartWriter, report: Reporter) -> None:
    """Take over what an earlier run finished, up to the first layer that is damaged."""
    if not journal.finished:
        writer.resume(0)
        return
    size = sum(finished.blob.size for finished in journal.finished if finished.blob)
    good = 0
    with report.progress("check the layers that are there", total=size, unit="bytes") as advance:
        for finished in journal.finished:
            if not _is_whole(finished, writer, advance):
                break
            good += 1
    journal.keep(good)
    writer.resume(journal.finished[-1].end if good else 0)
    report.say(f"going on after {good} finished layers")


def _is_whole(finished: Finished, writer: PartWriter, advance: Advance) -> bool:
    if finished.blob is None:
        return True
    sha256 = hashlib.sha256()
    try:
        for data in writer.read(finished.blob.offset, finished.blob.size):
            sha256.update(data)
            advance(len(data))
    except BundleError:
        return False
    return digests.digest_of(sha256) == finished.blob.digest


# --- layers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exporter:
    """What writing a layer needs. A recipe lies in the folder `spool` until it has proven to be smaller."""

    writer: PartWriter
    compressor: FrameCompressor
    delta: Delta | None
    spool: Path


def _write_layers(
    layers: Sequence[str], source: LayerSource, exporter: _Exporter, journal: Journal, report: Reporter
) -> None:
    done = {finished.layer.diff_id for finished in journal.finished}
    for number, diff_id in enumerate(layers, 1):
        if diff_id in done:
            continue
        label = f"layer {number} of {len(layers)}"
        with (
            source.open(diff_id) as layer,
            report.progress(label, total=layer.size, unit="bytes") as advance,
        ):
            finished = _write_layer(layer, exporter, advance)
        exporter.writer.sync()
        journal.add(finished)


def _write_layer(layer: RawLayer, exporter: _Exporter, advance: Advance) -> Finished:
    """Write a layer in the smallest form that the site can take."""
    delta = exporter.delta
    if delta is None:
        return _write_whole(layer, exporter, advance)
    if layer.diff_id in delta.site.layers:
        return _leave_out(layer, delta.site, exporter, advance)
    if not delta.has_bases():
        return _write_whole(layer, exporter, advance)
    as_recipe = _write_recipe(layer, delta, exporter, advance)
    return as_recipe or _write_whole(layer, exporter, lambda _: None)


def _write_whole(layer: RawLayer, exporter: _Exporter, advance: Advance) -> Finished:
    """Compress a layer into the archive, and check that it is what its diff id says."""
    raw = _CheckedLayer(layer, advance)
    blob = _append_pieces(exporter.writer, exporter.compressor.compress(cut.frames(raw.stream())))
    return Finished(
        layer=_described(raw, blob.digest, blob.size, Carried.WHOLE),
        blob=blob,
        end=exporter.writer.position,
        software=raw.software.software(),
    )


def _leave_out(layer: RawLayer, site: SiteLayers, exporter: _Exporter, advance: Advance) -> Finished:
    """Describe a layer that the site has.

    It is read for its software. If no bundle tells the digest of its blob, it is compressed to find that.
    """
    known = site.described.get(layer.diff_id)
    if known is None:
        raw = _CheckedLayer(layer, advance)
        blob = _compressed(raw, exporter.compressor)
        described, software = _described(raw, blob.digest, blob.size, Carried.BASE), raw.software
    else:
        described, software = replace(known, carried=Carried.BASE, recipe=None), SoftwareReader()
        software.skim(layer)
        advance(layer.size)
    return Finished(layer=described, blob=None, end=exporter.writer.position, software=software.software())


def _write_recipe(layer: RawLayer, delta: Delta, exporter: _Exporter, advance: Advance) -> Finished | None:
    """Write a layer as a recipe; None, and nothing written, if the layer itself is smaller."""
    raw = _CheckedLayer(layer, advance)
    whole = _compressed(raw, exporter.compressor)
    with medium_named(exporter.spool), tempfile.TemporaryFile(dir=exporter.spool) as spool:
        written = delta.recipe(layer, whole.frames, spool, most=whole.size)
        if written is None:
            return None
        spool.seek(0)
        blob = _append_pieces(exporter.writer, iter(lambda: spool.read(1 << 20), b""))
    return Finished(
        layer=replace(_described(raw, whole.digest, whole.size, Carried.RECIPE), recipe=blob.digest),
        blob=blob,
        end=exporter.writer.position,
        software=raw.software.software(),
        bases=written.bases,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compressed:
    """The blob that a layer would be. `frames` are the raw sizes of its frames."""

    digest: str
    size: int
    frames: array[int]


def _compressed(raw: _CheckedLayer, compressor: FrameCompressor) -> _Compressed:
    """Compress a layer only to describe its blob."""
    frames = array("Q")
    blob = hashlib.sha256()
    size = 0

    def counted() -> Iterator[bytes]:
        for frame in cut.frames(raw.stream()):
            frames.append(len(frame))
            yield frame

    for frame in compressor.compress(counted()):
        blob.update(frame)
        size += len(frame)
    return _Compressed(digest=digests.digest_of(blob), size=size, frames=frames)


def _described(raw: _CheckedLayer, digest: str, size: int, carried: Carried) -> Layer:
    return Layer(diff_id=raw.diff_id, raw_size=raw.size, digest=digest, size=size, carried=carried)


def _append_pieces(writer: PartWriter, pieces: Iterable[bytes]) -> Blob:
    """Write a blob whose digest is known only at its end."""
    sha256 = hashlib.sha256()
    header = writer.retain(archive.BLOCK)
    writer.write(bytes(archive.BLOCK))
    offset = writer.position
    for piece in pieces:
        sha256.update(piece)
        writer.write(piece)
    size = writer.position - offset
    writer.write(archive.padding(size))
    digest = digests.digest_of(sha256)
    writer.overwrite(header, archive.member_header(archive.blob_path(digest), size))
    return Blob(digest=digest, size=size, offset=offset)


class _CheckedLayer:
    """A raw layer that is checked, and searched for software, as it is read."""

    def __init__(self, layer: RawLayer, advance: Advance) -> None:
        self.diff_id = layer.diff_id
        self.size = 0
        self.software = SoftwareReader()
        self._layer, self._advance = layer, advance

    def stream(self) -> Iterator[bytes]:
        """The layer. Raises BundleError at its end unless it is what its diff id says."""
        hint = "files of the engine were changed, or the disk is failing; build or load the image again"
        where = f"layer {self.diff_id}: the engine gave other bytes"
        for data in checked(self._layer.stream(), self.diff_id, where=where, hint=hint):
            self.software.feed(data)
            self.size += len(data)
            self._advance(len(data))
            yield data


# --- manifest and files -------------------------------------------------------------------------------------


def _describe(contents: Contents, writer: PartWriter, journal: Journal, delta: Delta | None) -> Manifest:
    """Write the archive's last members, close the parts, and describe all of it in a manifest."""
    finished = {record.layer.diff_id: record for record in journal.finished}
    layers = {diff_id: finished[diff_id].layer for diff_id in contents.layers}
    blobs = {record.blob.digest: record.blob for record in finished.values() if record.blob}
    images = [_append_image(image, layers, blobs, writer) for image in contents.images]
    if delta is None:
        sizes = {image.manifest: blobs[image.manifest].size for image in images}
        for name, data in archive.descriptions(images, contents.platform, sizes, layers).items():
            _append(writer, name, data)
    writer.write(archive.END)
    return Manifest(
        format=FORMAT,
        kind=Kind.DELTA if delta else Kind.FULL,
        tool=__version__,
        platform=contents.platform,
        stack=contents.stack,
        images=tuple(images),
        layers=tuple(layers.values()),
        compression=own_compression(),
        archive=DELTA_ARCHIVE if delta else FULL_ARCHIVE,
        parts=writer.finish(),
        blobs=tuple(sorted(blobs.values(), key=lambda blob: blob.offset)),
        files=(),
        base=_base(delta, finished.values()) if delta else None,
    )


def _append_image(
    image: SourceImage, layers: Mapping[str, Layer], blobs: dict[str, Blob], writer: PartWriter
) -> Image:
    """Write an image's configuration and manifest, unless `blobs` has them, to which they are added."""
    of_image = [layers[diff_id] for diff_id in image.layers]
    manifest = archive.image_manifest(image.config, image.digest, of_image)
    for data in (image.config, manifest):
        if digests.digest(data) not in blobs:
            blobs[digests.digest(data)] = _append_blob(writer, data)
    return Image(
        reference=image.reference, config=image.digest, manifest=digests.digest(manifest), layers=image.layers
    )


def _base(delta: Delta, finished: Iterable[Finished]) -> Base:
    """What the site must have: the layers that are left out, and those that recipes are made on."""
    needed: set[str] = set()
    for record in finished:
        needed.update(record.bases)
        if record.layer.carried is Carried.BASE:
            needed.add(record.layer.diff_id)
    return Base(layers=tuple(sorted(needed)), bundles=delta.site.bundles)


def _append_blob(writer: PartWriter, data: bytes) -> Blob:
    digest = digests.digest(data)
    return Blob(digest=digest, size=len(data), offset=_append(writer, archive.blob_path(digest), data))


def _append(writer: PartWriter, name: str, data: bytes) -> int:
    writer.write(archive.member_header(name, len(data)))
    offset = writer.position
    writer.write(data + archive.padding(len(data)))
    return offset


def _write_files(
    manifest: Manifest, contents: Contents, finished: Sequence[Finished], folder: Path
) -> Manifest:
    """Write every other file of the bundle, the manifest last; returns the manifest with these files."""
    files = [*contents.files, *_software_files(contents.images, finished)]
    files.sort(key=lambda file: file.path)
    for file in files:
        _write(folder / file.path, file.data, executable=file.executable)
    manifest = replace(manifest, files=tuple(map(_entry, files)))
    _write(folder / SUMS, manifest.sums())
    _write(folder / MANIFEST, manifest.to_bytes())
    return manifest


def _entry(file: CarriedFile) -> File:
    return File(
        path=file.path,
        size=len(file.data),
        sha256=digests.sha256(file.data),
        executable=file.executable,
    )


def _write(path: Path, data: bytes, *, executable: bool = False) -> None:
    with medium_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data, mode=0o755 if executable else 0o644)


def _software_files(images: Iterable[SourceImage], finished: Sequence[Finished]) -> Iterator[CarriedFile]:
    by_layer = {record.layer.diff_id: record.software for record in finished}
    for image in images:
        software = overlaid(by_layer[diff_id] for diff_id in image.layers)
        name = image.reference.replace("/", "-").replace(":", "-").replace("@", "-")
        described = sbom.spdx(image.reference, image.digest, image.created, software)
        yield CarriedFile(path=f"sbom/{name}.spdx.json", data=described)
        yield CarriedFile(path=f"licences/{name}.txt", data=sbom.licences(image.reference, software))
