"""What a site is known to hold when a delta is made: the bundles that it imported, and the receipts that it
sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.format.manifest import Layer
from paddock.bundle.format.reader import OpenBundle, read_whole
from paddock.bundle.format.receipt import LARGEST, parse_receipt
from paddock.bundle.layers.carried import BundleLayers
from paddock.bundle.layers.framewriter import COMPRESSION
from paddock.bundle.layers.rawlayer import LayerSource
from paddock.errors import BundleError


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteLayers:
    """The layers of a site by diff id. `described` are those of which a bundle says what blob the site has.

    `comparable` are those of them whose blobs were compressed as is done here. `bundles` are ids, for people;
    their `sources` have bytes of layers.
    """

    layers: frozenset[str]
    described: Mapping[str, Layer]
    comparable: frozenset[str]
    sources: tuple[LayerSource, ...]
    bundles: tuple[str, ...]


@contextmanager
def open_bases(paths: Sequence[Path], platform: str) -> Iterator[SiteLayers]:
    """What a site holds according to folders of bundles, and files with receipts. Several count together.

    Raises BundleError for anything else, and for what is of another platform.
    """
    layers, bundles, sources = set[str](), list[str](), list[LayerSource]()
    described: dict[str, Layer] = {}
    comparable = set[str]()
    with ExitStack() as stack:
        for path in paths:
            if path.is_dir():
                bundle = stack.enter_context(OpenBundle.open([path]))
                manifest = bundle.manifest
                _require_platform(path, manifest.platform, platform)
                described |= {each.diff_id: each for each in manifest.layers}
                if manifest.compression == COMPRESSION:
                    comparable |= {each.diff_id for each in manifest.layers}
                bundles.append(manifest.id)
                sources.append(BundleLayers(bundle))
            else:
                found = parse_receipt(read_whole(path, LARGEST), where=str(path))
                _require_platform(path, found.platform, platform)
                layers |= {each.diff_id for each in found.layers}
                bundles += [each.id for each in found.bundles]
        yield SiteLayers(
            layers=frozenset(layers | set(described)),
            described=described,
            comparable=frozenset(comparable),
            sources=tuple(sources),
            bundles=tuple(dict.fromkeys(bundles)),
        )


def _require_platform(path: Path, found: str, platform: str) -> None:
    if found != platform:
        raise BundleError(
            f"{path}: found a base for {found}, expected {platform}",
            hint="layers of another platform are of no use; name a bundle or a receipt of the site that this is for",
        )
