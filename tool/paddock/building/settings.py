"""Settings of a build, from options, the environment and the workspace's `.env`, in that order.

An empty value counts as not set. What pip is already told on this machine (PIP_CERT, PIP_FIND_LINKS,
PIP_INDEX_URL) holds inside builds too, unless a setting of ours says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dotenv

from paddock import paths
from paddock.errors import ConfigurationError
from paddock.matrix.records import IMAGE_PREFIX

# Variable -> variables of other programs that mean the same on this machine, first one set wins.
SAME_AS = {
    "CA_BUNDLE": ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
    "WHEELHOUSE": ("PIP_FIND_LINKS",),
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX",),
    "HTTP_PROXY": ("http_proxy",),
    "HTTPS_PROXY": ("https_proxy",),
    "NO_PROXY": ("no_proxy",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSettings:
    """What a build takes from its surroundings. Empty strings and None mean: nothing given.

    The comments are what .env.example and docs/reference/configuration.md say of each variable.
    """

    # In front of the names of the images. With a container registry of yours: harbor.example/ocr/
    image_prefix: str = IMAGE_PREFIX
    # Folder with the weights. Write an absolute path: a relative one counts from the top of the checkout in a
    # build (default: models) and from the stack's folder in a stack (default: ../../models).
    models_dir: Path
    # In front of every base image: a mirror of its container registry, such as harbor.example/proxy/
    base_registry: str = ""
    # Index instead of PyPI. It may carry a password: it enters a build as a secret and is in no image.
    pip_index_url: str = ""
    # Mirror instead of Debian's archive, such as http://mirror.example/debian; debian-security is taken from
    # beside it. A secret of the build, too.
    apt_mirror: str = ""
    # Folder of wheels that are taken before any index, such as wheels/
    wheelhouse: Path | None = None
    # 1: take wheels of that folder although their hashes are not those of the lock; each is named.
    unlocked_wheels: bool = False
    # PEM file of the certificate authorities to trust, where a proxy inspects TLS.
    ca_bundle: Path | None = None
    # Proxies of a build, and the hosts that it reaches without one; no image keeps them.
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


def variables(workspace: Path) -> dict[str, str]:
    """The workspace's `.env`, overridden by the environment of this process."""
    settings = {**dotenv.dotenv_values(workspace / ".env"), **os.environ}
    return {name: value for name, value in settings.items() if value}


def models_dir(workspace: Path, found: Mapping[str, str]) -> Path:
    """The folder of weight sets: MODELS_DIR, relative to the workspace, or `models` in it."""
    return workspace / paths.expanded(found.get("MODELS_DIR", "models"))


def build_settings(workspace: Path, options: Mapping[str, str | None]) -> BuildSettings:
    """Settings for a build; `options` holds what the command line gives by the names of the variables.

    Raises ConfigurationError for a folder or file that is not there.
    """
    found = variables(workspace) | {name: value for name, value in options.items() if value}
    return BuildSettings(
        models_dir=models_dir(workspace, found),
        image_prefix=found.get("IMAGE_PREFIX", IMAGE_PREFIX),
        base_registry=found.get("BASE_REGISTRY", ""),
        wheelhouse=_wheelhouse(found, workspace),
        unlocked_wheels=found.get("UNLOCKED_WHEELS", "") not in {"", "0", "no", "false"},
        ca_bundle=_ca_bundle(found, workspace),
        pip_index_url=_value(found, "PIP_INDEX_URL"),
        apt_mirror=_value(found, "APT_MIRROR"),
        http_proxy=_value(found, "HTTP_PROXY"),
        https_proxy=_value(found, "HTTPS_PROXY"),
        no_proxy=_value(found, "NO_PROXY"),
    )


def _value(found: Mapping[str, str], name: str) -> str:
    names = (name, *SAME_AS.get(name, ()))
    return next((found[same] for same in names if same in found), "")


def _wheelhouse(found: Mapping[str, str], workspace: Path) -> Path | None:
    if "WHEELHOUSE" in found:
        folder = workspace / paths.expanded(found["WHEELHOUSE"])
        if not folder.is_dir():
            raise ConfigurationError(f"WHEELHOUSE: found {folder}, expected a folder of wheels")
        return folder
    # PIP_FIND_LINKS may be a URL or several places: what is no folder is none of ours.
    folder = Path(_value(found, "WHEELHOUSE") or os.devnull)
    return folder if folder.is_dir() else None


def _ca_bundle(found: Mapping[str, str], workspace: Path) -> Path | None:
    chosen = _value(found, "CA_BUNDLE")
    if not chosen:
        return None
    path = workspace / paths.expanded(chosen)
    if not path.is_file():
        raise ConfigurationError(f"CA_BUNDLE: found {path}, expected a file with PEM certificates")
    return path
