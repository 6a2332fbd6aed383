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

from paddock.errors import ConfigurationError
from paddock.matrix.records import IMAGE_PREFIX

# Variable -> variables of other programs that mean the same on this machine, first one set wins.
_SAME_AS = {
    "CA_BUNDLE": ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
    "WHEELHOUSE": ("PIP_FIND_LINKS",),
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX",),
    "HTTP_PROXY": ("http_proxy",),
    "HTTPS_PROXY": ("https_proxy",),
    "NO_PROXY": ("no_proxy",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSettings:
    """What a build takes from its surroundings. Empty strings and None mean: nothing given."""

    models_dir: Path
    image_prefix: str = IMAGE_PREFIX
    base_registry: str = ""
    wheelhouse: Path | None = None
    ca_bundle: Path | None = None
    pip_index_url: str = ""
    apt_mirror: str = ""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


def variables(workspace: Path) -> dict[str, str]:
    """The workspace's `.env`, overridden by the environment of this process."""
    return {name: value for name, value in {**_dotenv(workspace / ".env"), **os.environ}.items() if value}


def models_dir(workspace: Path, found: Mapping[str, str]) -> Path:
    """The folder of weight sets: MODELS_DIR, relative to the workspace, or `models` in it."""
    return workspace / Path(found.get("MODELS_DIR", "models")).expanduser()


def build_settings(workspace: Path, options: Mapping[str, str | None]) -> BuildSettings:
    """Settings for a build; `options` are variables by name that the command line gives, None where it does
    not.

    Raises ConfigurationError for a folder or file that is not there.
    """
    found = variables(workspace) | {name: value for name, value in options.items() if value}
    return BuildSettings(
        models_dir=models_dir(workspace, found),
        image_prefix=found.get("IMAGE_PREFIX", IMAGE_PREFIX),
        base_registry=found.get("BASE_REGISTRY", ""),
        wheelhouse=_wheelhouse(found, workspace),
        ca_bundle=_ca_bundle(found, workspace),
        pip_index_url=_value(found, "PIP_INDEX_URL"),
        apt_mirror=_value(found, "APT_MIRROR"),
        http_proxy=_value(found, "HTTP_PROXY"),
        https_proxy=_value(found, "HTTPS_PROXY"),
        no_proxy=_value(found, "NO_PROXY"),
    )


def _dotenv(path: Path) -> dict[str, str]:
    return {name: value for name, value in dotenv.dotenv_values(path).items() if value is not None}


def _value(found: Mapping[str, str], name: str) -> str:
    return next((found[each] for each in (name, *_SAME_AS.get(name, ())) if each in found), "")


def _wheelhouse(found: Mapping[str, str], workspace: Path) -> Path | None:
    if "WHEELHOUSE" in found:
        folder = workspace / Path(found["WHEELHOUSE"]).expanduser()
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
    path = workspace / Path(chosen).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"CA_BUNDLE: found {path}, expected a file with PEM certificates")
    return path
