"""What the workshop knows of a site's layers when it makes a delta.

It knows them from bundles that the site has imported, and from receipts that the site has sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.format.manifest import Layer
from paddock.bundle.format.reader import OpenBundle, read_whole
from paddock.bundle.format.receipt import LARGEST, Receipt, parse_receipt
from paddock.bundle.layers.carried import BundleLayers
from paddock.bundle.layers.framewriter import own_compression
from paddock.bundle.layers.rawlayer import LayerSource
from paddock.errors import BundleError


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteLayers:
    """The layers that a site has."""

    layers: frozenset[str]  # diff ids of all of them
    described: Mapping[str, Layer]  # by diff id, those of which a bundle says which blob the site has
    comparable: frozenset[str]  # diff ids of those described whose blobs are compressed as this program does
    sources: tuple[LayerSource, ...]  # bundles that have bytes of them
    bundles: tuple[str, ...]  # ids of the bundles that the site has, for people


@contextmanager
def open_bases(paths: Sequence[Path], platform: str) -> Iterator[SiteLayers]:
    """What a site has according to `paths`: folders of bundles and files with receipts, counted together.

    Raises BundleError for anything else, and for what is of another platform.
    """
    known = _Collected()
    with ExitStack() as stack:
        for path in paths:
            if path.is_dir():
                bundle = stack.enter_context(OpenBundle.open([path]))
                _require_platform(path, bundle.manifest.platform, platform)
                known.add_bundle(bundle)
            else:
                receipt = parse_receipt(read_whole(path, LARGEST), where=str(path))
                _require_platform(path, receipt.platform, platform)
                known.add_receipt(receipt)
        yield known.site_layers()


class _Collected:
    """What bundles and receipts say of a site, while they are read."""

    def __init__(self) -> None:
        self._layers: set[str] = set()
        self._described: dict[str, Layer] = {}
        self._comparable: set[str] = set()
        self._sources: list[LayerSource] = []
        self._bundles: list[str] = []

    def add_bundle(self, bundle: OpenBundle) -> None:
        manifest = bundle.manifest
        by_diff_id = {layer.diff_id: layer for layer in manifest.layers}
        self._layers.update(by_diff_id)
        self._described.update(by_diff_id)
        if manifest.compression == own_compression():
            self._comparable.update(by_diff_id)
        self._sources.append(BundleLayers(bundle))
        self._bundles.append(manifest.id)

    def add_receipt(self, receipt: Receipt) -> None:
        self._layers.update(layer.diff_id for layer in receipt.layers)
        self._bundles += [bundle.id for bundle in receipt.bundles]

    def site_layers(self) -> SiteLayers:
        return SiteLayers(
            layers=frozenset(self._layers),
            described=self._described,
            comparable=frozenset(self._comparable),
            sources=tuple(self._sources),
            bundles=tuple(dict.fromkeys(self._bundles)),
        )


def _require_platform(path: Path, found: str, platform: str) -> None:
    if found != platform:
        raise BundleError(
            f"{path}: found a base for {found}, expected {platform}",
            hint="layers of another platform are of no use;"
            " name a bundle or a receipt of the site that this is for",
        )
