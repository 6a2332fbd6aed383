"""Asking container registries whether an image exists for a platform, over HTTP and without an engine.

Reads manifests only and never a layer; anonymously, as a pull without `docker login` would. Not for pulling:
the engine does that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import requests

from paddock.matrix.records import Platform

TIMEOUT = 20.0  # seconds for one answer
_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_NO_PLATFORM = "unknown/unknown"  # of an attestation, which BuildKit puts beside the images
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_REFERENCE = re.compile(
    r"(?:(?P<host>[^/]+)/)?(?P<repository>[a-z0-9][a-z0-9._/-]*?)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Verdict(StrEnum):
    """What a container registry says about one image for one platform."""

    PRESENT = "there"
    ABSENT = "not there"
    OTHER_PLATFORM = "not for this platform"
    REFUSED = "refused"
    UNREACHABLE = "no answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """An image's name taken apart. `host` is the container registry's, as Docker completes it."""

    host: str
    repository: str
    version: str  # a digest where the name has one, else the tag

    @classmethod
    def of(cls, name: str) -> Reference:
        """Raises ValueError for what is no image name."""
        first, slash, _ = name.partition("/")
        has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        found = _REFERENCE.fullmatch(name if has_host else f"{_HUB}/{name}")
        if found is None:
            raise ValueError(f'found "{name}", expected the name of an image')
        repository = found["repository"]
        if found["host"] == _HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(
            host=found["host"], repository=repository, version=found["digest"] or found["tag"] or "latest"
        )

    @property
    def api(self) -> str:
        """The repository's URL in the registry's API; plain HTTP for this machine only, as in Docker."""
        host = _HUB_HOST if self.host == _HUB else self.host
        local = host.partition(":")[0] in {"localhost", "127.0.0.1"}
        return f"{'http' if local else 'https'}://{host}/v2/{self.repository}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a container registry answered.

    `digest` is that of what the tag names (for several platforms: of the list); empty unless it is there.
    """

    verdict: Verdict
    detail: str = ""
    digest: str = ""


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


def look_up(name: str, platform: Platform, *, session: requests.Session) -> Answer:
    """Whether the image `name` exists for `platform`; whatever goes wrong is in the answer, too."""
    try:
        reference = Reference.of(name)
    except ValueError as wrong:
        return Answer(verdict=Verdict.ABSENT, detail=str(wrong))
    try:
        return _look_up(reference, platform, session)
    except _Refusal as refusal:
        return refusal.answer
    except requests.RequestException as failure:
        return Answer(
            verdict=Verdict.UNREACHABLE, detail=f"{urlsplit(reference.api).netloc}: {_reason(failure)}"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as odd:
        return Answer(
            verdict=Verdict.UNREACHABLE, detail=f"{reference.host}: an answer that makes no sense: {odd}"
        )


def _look_up(reference: Reference, platform: Platform, session: requests.Session) -> Answer:
    response = _get(
        session,
        f"{reference.api}/manifests/{reference.version}",
        {"Accept": ", ".join(_INDEXES + _MANIFESTS)},
    )
    manifest: Mapping[str, Any] = response.json()
    digest = response.headers.get("Docker-Content-Digest", "")
    if "manifests" in manifest:
        described = [entry.get("platform", {}) for entry in manifest["manifests"]]
    else:
        described = [_get(session, f"{reference.api}/blobs/{manifest['config']['digest']}", {}).json()]
    platforms = {_platform_of(description) for description in described} - {_NO_PLATFORM}
    if platform not in platforms:
        return Answer(verdict=Verdict.OTHER_PLATFORM, detail=f"only for {', '.join(sorted(platforms))}")
    return Answer(verdict=Verdict.PRESENT, digest=digest)


def _platform_of(described: Mapping[str, Any]) -> str:
    return f"{described.get('os', 'unknown')}/{described.get('architecture', 'unknown')}"


def _get(session: requests.Session, url: str, headers: Mapping[str, str]) -> requests.Response:
    """The answer to a GET, with a token where the registry asks for one. Raises _Refusal unless it is 200."""
    response = session.get(url, headers=dict(headers), timeout=TIMEOUT)
    challenge = response.headers.get("WWW-Authenticate", "")
    if response.status_code == 401 and challenge.lower().startswith("bearer "):
        token = _token(session, dict(_CHALLENGE.findall(challenge)))
        response = session.get(url, headers={**headers, "Authorization": f"Bearer {token}"}, timeout=TIMEOUT)
    if response.status_code == 200:
        return response
    raise _Refusal(_refused(response))


def _token(session: requests.Session, challenge: Mapping[str, str]) -> str:
    asked = {name: challenge[name] for name in ("service", "scope") if name in challenge}
    response = session.get(challenge["realm"], params=asked, timeout=TIMEOUT)
    if response.status_code != 200:
        raise _Refusal(_refused(response))
    given = response.json()
    return str(given.get("token") or given["access_token"])


def _refused(response: requests.Response) -> Answer:
    host = urlsplit(response.url).netloc
    status = response.status_code
    if status == 404:
        return Answer(verdict=Verdict.ABSENT, detail=f"{host} does not have it")
    if status in (401, 403):
        return Answer(verdict=Verdict.REFUSED, detail=f"{host}: {status}; it is not there, or wants a login")
    if status == 429:
        return Answer(
            verdict=Verdict.REFUSED, detail=f"{host}: {status}; too many requests from this address"
        )
    return Answer(verdict=Verdict.UNREACHABLE, detail=f"{host} answers {status}")


def _reason(failure: requests.RequestException) -> str:
    text = str(failure)
    if "resolve" in text or "Name or service not known" in text:
        return "its name cannot be resolved"
    if isinstance(failure, requests.exceptions.SSLError):
        return "its certificate is not trusted here (CA_BUNDLE names others)"
    if isinstance(failure, requests.Timeout):
        return f"no answer in {TIMEOUT:.0f} s"
    return "connection refused" if "refused" in text else type(failure).__name__
