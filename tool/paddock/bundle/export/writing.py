"""Writing a bundle: images out of the engine into parts, then everything that travels with them.

`gather` says what is to be carried and refuses what does not fit together; `export` writes it. Of a full
bundle a layer is read once: hashed, searched for its software, cut, compressed and written as it goes past.
Of a delta it is first compressed for its digest alone, then written in the smallest way. The root manifest
comes last, so a directory without one is not a bundle; a stopped export goes on behind the last whole layer.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
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
from paddock.bundle.format import archive
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
from paddock.bundle.layers.framewriter import COMPRESSION, FrameCompressor
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer, checked
from paddock.bundle.layers.softwarelist import SoftwareReader, overlaid
from paddock.durable import write_durably
from paddock.errors import BundleError, Interrupted
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
    """Write the bundle into `folder`, or go on with it there, and sign it with `key`; a full one, or `delta`.

    Raises BundleError, PreflightError where the disk is too small; what was written stays for the next
    attempt.
    """
    _prepare(folder)
    require_part_size(folder, part_size)
    journal = Journal(folder, _what(contents, part_size, delta))
    try:
        with PartWriter(folder, DELTA_ARCHIVE if delta else FULL_ARCHIVE, part_size) as writer:
            _go_on(journal, writer, report)
            with FrameCompressor() as compressor:
                exporter = _Exporter(writer=writer, compressor=compressor, delta=delta, spool=folder)
                _write_layers(contents.layers, source, exporter, journal, report)
            manifest = _describe(contents, writer, journal, delta)
    except KeyboardInterrupt:
        hint = "the same command goes on behind the last whole layer"
        raise Interrupted(f"{folder}: the export is not finished", hint=hint) from None
    manifest = _write_files(manifest, contents, journal.finished, folder)
    if key is not None:
        with OpenBundle.open([folder]) as bundle:
            sign_bundle(bundle, key)
    journal.remove()
    return manifest


def finished_layers(folder: Path) -> frozenset[str]:
    """Diff ids of the layers that an unfinished export into `folder` need not write again."""
    return frozenset(each.layer.diff_id for each in written_layers(folder))


# --- the directory ------------------------------------------------------------------------------------------


def _prepare(folder: Path) -> None:
    """Make the directory, or see that nothing of another bundle is in it."""
    with medium_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(each.name for each in folder.iterdir())
    if not all(each.startswith(JOURNAL) for each in found) and JOURNAL not in found:
        if MANIFEST in found:
            raise BundleError(
                f"{folder}: holds a finished bundle, expected an empty directory",
                hint="`paddock bundle inspect` shows what is in it; name another directory",
            )
        raise BundleError(
            f"{folder}: found {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}, expected an empty directory",
            hint="a bundle is never mixed with other files; name another directory",
        )
    with medium_named(folder):  # an earlier run may have been stopped at its very end
        for name in (MANIFEST, SIGNATURE, SUMS):
            (folder / name).unlink(missing_ok=True)
        for stale in folder.rglob(f"*{PARTIAL}"):
            if not stale.name.startswith((f"{FULL_ARCHIVE}.", f"{DELTA_ARCHIVE}.")):
                stale.unlink()


def _what(contents: Contents, part_size: int, delta: Delta | None) -> str:
    """Differs between exports that do not give the same bytes."""
    what = [
        FORMAT,
        __version__,
        [COMPRESSION.level, COMPRESSION.libzstd],
        part_size,
        [[each.reference, each.digest] for each in contents.images],
        [[each.path, _digest(each.data)] for each in contents.files],
        None if delta is None else [sorted(delta.site.layers), delta.site.bundles],
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _go_on(journal: Journal, writer: PartWriter, report: Reporter) -> None:
    """Take over what an earlier run finished, as far as it is whole."""
    if not journal.finished:
        writer.resume(0)
        return
    size = sum(each.blob.size for each in journal.finished if each.blob)
    good = 0
    with report.progress("check the layers that are there", total=size, unit="bytes") as step:
        for each in journal.finished:
            if not _is_whole(each, writer, step):
                break
            good += 1
    journal.keep(good)
    writer.resume(journal.finished[-1].end if good else 0)
    report.say(f"going on behind {good} finished layers")


def _is_whole(finished: Finished, writer: PartWriter, step: Advance) -> bool:
    if finished.blob is None:
        return True
    sha256 = hashlib.sha256()
    try:
        for data in writer.read(finished.blob.offset, finished.blob.size):
            sha256.update(data)
            step(len(data))
    except BundleError:
        return False
    return f"sha256:{sha256.hexdigest()}" == finished.blob.digest


# --- layers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exporter:
    """What writing a layer needs. Recipes lie in the folder `spool` until it is known that they are worth it."""

    writer: PartWriter
    compressor: FrameCompressor
    delta: Delta | None
    spool: Path


def _write_layers(
    layers: Sequence[str], source: LayerSource, exporter: _Exporter, journal: Journal, report: Reporter
) -> None:
    done = {each.layer.diff_id for each in journal.finished}
    for number, diff_id in enumerate(layers, 1):
        if diff_id in done:
            continue
        label = f"layer {number} of {len(layers)}"
        with (
            source.open(diff_id) as layer,
            report.progress(label, total=layer.size, unit="bytes") as step,
        ):
            finished = _write_layer(layer, exporter, step)
        exporter.writer.sync()
        journal.add(finished)


def _write_layer(layer: RawLayer, exporter: _Exporter, step: Advance) -> Finished:
    """Write a layer in the smallest way that the site can take."""
    if exporter.delta is None:
        return _write_whole(layer, exporter, step)
    if layer.diff_id in exporter.delta.site.layers:
        return _leave_out(layer, exporter.delta.site, exporter, step)
    if not exporter.delta.has_bases():
        return _write_whole(layer, exporter, step)
    return _write_recipe(layer, exporter.delta, exporter, step) or _write_whole(
        layer, exporter, lambda _: None
    )


def _write_whole(layer: RawLayer, exporter: _Exporter, step: Advance) -> Finished:
    """Compress a layer into the archive and check that it was what its name says."""
    raw = _Raw(layer, step)
    blob = _append_pieces(exporter.writer, exporter.compressor.compressed(cut.frames(raw.stream())))
    return Finished(
        layer=_layer(raw, blob.digest, blob.size, Carried.WHOLE),
        blob=blob,
        end=exporter.writer.position,
        software=raw.software.software(),
    )


def _leave_out(layer: RawLayer, site: SiteLayers, exporter: _Exporter, step: Advance) -> Finished:
    """A layer that the site has: read for its software, and whole for its blob's digest where no bundle tells
    that.
    """
    known = site.described.get(layer.diff_id)
    if known is None:
        raw = _Raw(layer, step)
        digest, size, _ = _compressed(raw, exporter.compressor)
        described, software = _layer(raw, digest, size, Carried.BASE), raw.software
    else:
        described, software = replace(known, carried=Carried.BASE, recipe=None), SoftwareReader()
        software.skim(layer)
        step(layer.size)
    return Finished(layer=described, blob=None, end=exporter.writer.position, software=software.software())


def _write_recipe(layer: RawLayer, delta: Delta, exporter: _Exporter, step: Advance) -> Finished | None:
    """Write a layer as a recipe; None, and nothing written, where the layer itself is smaller."""
    raw = _Raw(layer, step)
    digest, size, frames = _compressed(raw, exporter.compressor)
    with medium_named(exporter.spool), tempfile.TemporaryFile(dir=exporter.spool) as spool:
        written = delta.recipe(layer, frames, spool, most=size)
        if written is None:
            return None
        spool.seek(0)
        blob = _append_pieces(exporter.writer, iter(lambda: spool.read(1 << 20), b""))
    return Finished(
        layer=replace(_layer(raw, digest, size, Carried.RECIPE), recipe=blob.digest),
        blob=blob,
        end=exporter.writer.position,
        software=raw.software.software(),
        bases=written.bases,
    )


def _compressed(raw: _Raw, compressor: FrameCompressor) -> tuple[str, int, array[int]]:
    """Digest and size of the blob that a layer would be, and the raw sizes of its frames."""
    frames = array("Q")
    blob = hashlib.sha256()
    size = 0

    def counted() -> Iterator[bytes]:
        for frame in cut.frames(raw.stream()):
            frames.append(len(frame))
            yield frame

    for frame in compressor.compressed(counted()):
        blob.update(frame)
        size += len(frame)
    return f"sha256:{blob.hexdigest()}", size, frames


def _layer(raw: _Raw, digest: str, size: int, carried: Carried) -> Layer:
    return Layer(diff_id=raw.diff_id, raw_size=raw.size, digest=digest, size=size, carried=carried)


def _append_pieces(writer: PartWriter, pieces: Iterable[bytes]) -> Blob:
    """Write a blob whose digest is known only at its end."""
    sha256 = hashlib.sha256()
    header = writer.hold()
    writer.write(bytes(archive.BLOCK))
    offset = writer.position
    for piece in pieces:
        sha256.update(piece)
        writer.write(piece)
    size = writer.position - offset
    writer.write(archive.padding(size))
    digest = f"sha256:{sha256.hexdigest()}"
    writer.overwrite(header, archive.member_header(archive.blob_path(digest), size))
    return Blob(digest=digest, size=size, offset=offset)


class _Raw:
    """A raw layer that is checked and searched while it goes past."""

    def __init__(self, layer: RawLayer, step: Advance) -> None:
        self.diff_id = layer.diff_id
        self.size = 0
        self.software = SoftwareReader()
        self._layer, self._step = layer, step

    def stream(self) -> Iterator[bytes]:
        """The layer. Raises BundleError at its end when it was not what its name says."""
        hint = "files of the engine were changed or the disk is failing; build or load the image again"
        where = f"layer {self.diff_id}: the engine gave other bytes"
        for data in checked(self._layer.stream(), self.diff_id, where=where, hint=hint):
            self.software.feed(data)
            self.size += len(data)
            self._step(len(data))
            yield data


# --- what describes them ------------------------------------------------------------------------------------


def _describe(contents: Contents, writer: PartWriter, journal: Journal, delta: Delta | None) -> Manifest:
    """Write the archive's last members, close the parts, and say in a manifest what there is now."""
    finished = {each.layer.diff_id: each for each in journal.finished}
    layers = {diff_id: finished[diff_id].layer for diff_id in contents.layers}
    blobs = {each.blob.digest: each.blob for each in finished.values() if each.blob}
    images = []
    for image in contents.images:
        manifest = archive.image_manifest(image.config, image.digest, [layers[each] for each in image.layers])
        for data in (image.config, manifest):
            if _digest(data) not in blobs:
                blobs[_digest(data)] = _append_blob(writer, data)
        images.append(
            Image(
                reference=image.reference,
                config=image.digest,
                manifest=_digest(manifest),
                layers=image.layers,
            )
        )
    if delta is None:
        sizes = {each.manifest: blobs[each.manifest].size for each in images}
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
        compression=COMPRESSION,
        archive=DELTA_ARCHIVE if delta else FULL_ARCHIVE,
        parts=writer.finish(),
        blobs=tuple(sorted(blobs.values(), key=lambda each: each.offset)),
        files=(),
        base=_base(delta, finished.values()) if delta else None,
    )


def _base(delta: Delta, finished: Iterable[Finished]) -> Base:
    """What the site must have: the layers that are left out, and those that recipes are made on."""
    needed = {name for each in finished for name in each.bases}
    needed |= {each.layer.diff_id for each in finished if each.layer.carried is Carried.BASE}
    return Base(layers=tuple(sorted(needed)), bundles=delta.site.bundles)


def _append_blob(writer: PartWriter, data: bytes) -> Blob:
    digest = _digest(data)
    return Blob(digest=digest, size=len(data), offset=_append(writer, archive.blob_path(digest), data))


def _append(writer: PartWriter, name: str, data: bytes) -> int:
    writer.write(archive.member_header(name, len(data)))
    offset = writer.position
    writer.write(data + archive.padding(len(data)))
    return offset


def _write_files(
    manifest: Manifest, contents: Contents, finished: Sequence[Finished], folder: Path
) -> Manifest:
    files = [*contents.files, *_software_files(contents.images, finished)]
    for each in files:
        _write(folder / each.path, each.data, executable=each.executable)
    entries = (
        File(
            path=each.path,
            size=len(each.data),
            sha256=hashlib.sha256(each.data).hexdigest(),
            executable=each.executable,
        )
        for each in sorted(files, key=lambda each: each.path)
    )
    manifest = replace(manifest, files=tuple(entries))
    _write(folder / SUMS, manifest.sums())
    _write(folder / MANIFEST, manifest.to_bytes())
    return manifest


def _write(path: Path, data: bytes, *, executable: bool = False) -> None:
    with medium_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data, mode=0o755 if executable else 0o644)


def _software_files(images: Iterable[SourceImage], finished: Sequence[Finished]) -> Iterator[CarriedFile]:
    software = {each.layer.diff_id: each.software for each in finished}
    for image in images:
        found = overlaid(software[each] for each in image.layers)
        name = image.reference.replace("/", "-").replace(":", "-").replace("@", "-")
        yield CarriedFile(
            path=f"sbom/{name}.spdx.json", data=sbom.spdx(image.reference, image.digest, image.created, found)
        )
        yield CarriedFile(path=f"licences/{name}.txt", data=sbom.licences(image.reference, found))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
