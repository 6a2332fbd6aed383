"""Writing a full bundle: images out of the engine into parts, then everything that travels with them.

`inspect` says what is to be carried and refuses what does not fit together; `export` writes it. A layer is read once:
hashed, searched for its software, cut, compressed and written as it goes past. The root manifest comes last, so a
directory without one is not a bundle; a stopped export goes on behind the last whole layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from paddock import __version__
from paddock.bundle import archive, cut, sbom
from paddock.bundle.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.durable import write_durably
from paddock.bundle.exportjournal import NAME as JOURNAL
from paddock.bundle.exportjournal import Finished, Journal, written_layers
from paddock.bundle.framewriter import COMPRESSION, FrameCompressor
from paddock.bundle.manifest import (
    FORMAT,
    FULL_ARCHIVE,
    MANIFEST,
    SIGNATURE,
    SUMS,
    Blob,
    Carried,
    File,
    Image,
    Kind,
    Layer,
    Manifest,
)
from paddock.bundle.medium import medium_named, require_part_size
from paddock.bundle.parts import Bundle
from paddock.bundle.partwriter import PARTIAL, PartWriter
from paddock.bundle.rawlayer import LayerSource, RawLayer
from paddock.bundle.signature import SecretKey
from paddock.bundle.softwarelist import SoftwareReader, overlaid
from paddock.bundle.trust import sign_bundle
from paddock.errors import BundleError, Interrupted
from paddock.report import Advance, Reporter

PART_SIZE = 3900 << 20  # bytes; fits on FAT32


def export(
    contents: Contents,
    folder: Path,
    source: LayerSource,
    *,
    report: Reporter,
    part_size: int = PART_SIZE,
    key: SecretKey | None = None,
) -> Manifest:
    """Write the bundle into `folder`, or go on with it there, and sign it with `key`.

    Raises BundleError, PreflightError where the disk is too small; what was written stays for the next attempt.
    """
    _prepare(folder)
    require_part_size(folder, part_size)
    journal = Journal(folder, _what(contents, part_size))
    try:
        with PartWriter(folder, FULL_ARCHIVE, part_size) as writer:
            _go_on(journal, writer, report)
            _write_layers(contents.layers, source, writer, journal, report)
            manifest = _describe(contents, writer, journal)
    except KeyboardInterrupt:
        hint = "the same command goes on behind the last whole layer"
        raise Interrupted(f"{folder}: the export is not finished", hint=hint) from None
    manifest = _write_files(manifest, contents, journal.finished, folder)
    if key is not None:
        with Bundle.open([folder]) as bundle:
            sign_bundle(bundle, key)
    journal.remove()
    return manifest


def finished_layers(folder: Path) -> frozenset[str]:
    """Diff ids of the layers that an unfinished export into `folder` need not write again."""
    return frozenset(each.layer.diff_id for each in written_layers(folder))


# --- the directory ----------------------------------------------------------------------------------------------------


def _prepare(folder: Path) -> None:
    """Make the directory, or see that nothing of another bundle is in it."""
    with medium_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(each.name for each in folder.iterdir())
    if not all(each.startswith(JOURNAL) for each in found) and JOURNAL not in found:
        raise BundleError(
            f"{folder}: found {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}, expected an empty directory",
            hint="a bundle is never mixed with other files; name another directory",
        )
    with medium_named(folder):  # an earlier run may have been stopped at its very end
        for name in (MANIFEST, SIGNATURE, SUMS):
            (folder / name).unlink(missing_ok=True)
        for stale in folder.rglob(f"*{PARTIAL}"):
            if not stale.name.startswith(f"{FULL_ARCHIVE}."):
                stale.unlink()


def _what(contents: Contents, part_size: int) -> str:
    """Differs between exports that do not give the same bytes."""
    what = [
        FORMAT,
        __version__,
        COMPRESSION.libzstd,
        part_size,
        [[each.reference, each.digest] for each in contents.images],
        [[each.path, _digest(each.data)] for each in contents.files],
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _go_on(journal: Journal, writer: PartWriter, report: Reporter) -> None:
    """Take over what an earlier run finished, as far as it is whole."""
    if not journal.finished:
        writer.resume(0)
        return
    size = sum(each.layer.size for each in journal.finished)
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
    sha256 = hashlib.sha256()
    try:
        for data in writer.read(finished.offset, finished.layer.size):
            sha256.update(data)
            step(len(data))
    except BundleError:
        return False
    return f"sha256:{sha256.hexdigest()}" == finished.layer.digest


# --- layers -----------------------------------------------------------------------------------------------------------


def _write_layers(
    layers: Sequence[str], source: LayerSource, writer: PartWriter, journal: Journal, report: Reporter
) -> None:
    done = {each.layer.diff_id for each in journal.finished}
    with FrameCompressor() as compressor:
        for number, diff_id in enumerate(layers, 1):
            if diff_id in done:
                continue
            label = f"layer {number} of {len(layers)}"
            with (
                source.open(diff_id) as layer,
                report.progress(label, total=layer.size, unit="bytes") as step,
            ):
                finished = _write_layer(layer, writer, compressor, step)
            writer.sync()
            journal.add(finished)


def _write_layer(layer: RawLayer, writer: PartWriter, compressor: FrameCompressor, step: Advance) -> Finished:
    """Compress a layer into the archive and check that it was what its name says."""
    raw = _Raw(layer, step)
    blob = hashlib.sha256()
    header = writer.hold()
    writer.write(bytes(archive.BLOCK))
    offset = writer.position
    for frame in compressor.compressed(cut.frames(raw.stream())):
        blob.update(frame)
        writer.write(frame)
    size = writer.position - offset
    if f"sha256:{raw.sha256.hexdigest()}" != layer.diff_id:
        raise BundleError(
            f"layer {layer.diff_id}: the engine gave other bytes, SHA-256 {raw.sha256.hexdigest()}",
            hint="files of the engine were changed or the disk is failing; build or load the image again",
        )
    writer.write(archive.padding(size))
    digest = f"sha256:{blob.hexdigest()}"
    writer.overwrite(header, archive.member_header(archive.blob_path(digest), size))
    return Finished(
        layer=Layer(diff_id=layer.diff_id, raw_size=raw.size, digest=digest, size=size, carried=Carried.WHOLE),
        offset=offset,
        end=writer.position,
        software=raw.software.software(),
    )


class _Raw:
    """A raw layer that is hashed and searched while it goes past."""

    def __init__(self, layer: RawLayer, step: Advance) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.software = SoftwareReader()
        self._layer, self._step = layer, step

    def stream(self) -> Iterator[bytes]:
        for data in self._layer.stream():
            self.sha256.update(data)
            self.software.feed(data)
            self.size += len(data)
            self._step(len(data))
            yield data


# --- what describes them ----------------------------------------------------------------------------------------------


def _describe(contents: Contents, writer: PartWriter, journal: Journal) -> Manifest:
    """Write the archive's last members, close the parts, and say in a manifest what there is now."""
    finished = {each.layer.diff_id: each for each in journal.finished}
    layers = {diff_id: finished[diff_id].layer for diff_id in contents.layers}
    blobs = {each.layer.digest: Blob(digest=each.layer.digest, size=each.layer.size, offset=each.offset)
             for each in finished.values()}  # fmt: skip
    images = []
    for image in contents.images:
        manifest = archive.image_manifest(image.config, image.digest, [layers[each] for each in image.layers])
        for data in (image.config, manifest):
            if _digest(data) not in blobs:
                blobs[_digest(data)] = _append_blob(writer, data)
        images.append(
            Image(reference=image.reference, config=image.digest, manifest=_digest(manifest), layers=image.layers)
        )
    sizes = {each.manifest: blobs[each.manifest].size for each in images}
    for name, data in archive.descriptions(images, contents.platform, sizes, layers).items():
        _append(writer, name, data)
    writer.write(archive.END)
    return Manifest(
        format=FORMAT,
        kind=Kind.FULL,
        tool=__version__,
        platform=contents.platform,
        stack=contents.stack,
        images=tuple(images),
        layers=tuple(layers.values()),
        compression=COMPRESSION,
        archive=FULL_ARCHIVE,
        parts=writer.finish(),
        blobs=tuple(sorted(blobs.values(), key=lambda each: each.offset)),
        files=(),
        base=None,
    )


def _append_blob(writer: PartWriter, data: bytes) -> Blob:
    digest = _digest(data)
    return Blob(digest=digest, size=len(data), offset=_append(writer, archive.blob_path(digest), data))


def _append(writer: PartWriter, name: str, data: bytes) -> int:
    writer.write(archive.member_header(name, len(data)))
    offset = writer.position
    writer.write(data + archive.padding(len(data)))
    return offset


def _write_files(manifest: Manifest, contents: Contents, finished: Sequence[Finished], folder: Path) -> Manifest:
    files = [*contents.files, *_software_files(contents.images, finished)]
    for each in files:
        _write(folder / each.path, each.data, executable=each.executable)
    entries = (
        File(path=each.path, size=len(each.data), sha256=hashlib.sha256(each.data).hexdigest(),
             executable=each.executable)
        for each in sorted(files, key=lambda each: each.path)
    )  # fmt: skip
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
        yield CarriedFile(path=f"sbom/{name}.spdx.json",
                          data=sbom.spdx(image.reference, image.digest, image.created, found))  # fmt: skip
        yield CarriedFile(path=f"licences/{name}.txt", data=sbom.licences(image.reference, found))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
