"""Where a stack is asked: at its pipeline API, or at the door in front of it where site.yaml adds one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from paddock.engine import docker
from paddock.stack import containers
from paddock.stack.configuration import Configuration
from paddock.stack.containers import Container
from paddock.stack.folder import StackFolder

DOOR = "door"
CERTIFICATES = "/etc/paddock/tls"  # where the door gets the folder of the site's certificate
NOTHING = Path("/dev/null")  # mounted where no such folder is wanted
_API = "api"
_PINNED = "#sha256="
_INSIDE = 8080  # the door's port in its container; the other one has its metrics
_TLS = "io.paddock.tls"
_CERTIFICATE = (
    "/var/lib/door/certificate.pem"  # the one in use, without its key (certificates.py of the image)
)


def url_of(client: docker.DockerClient, present: Sequence[Container], service: str = _API) -> str | None:
    """Where a service of a stack answers, seen from here; None where it is not there or not published.

    The URL of a door ends with the SHA-256 of its certificate (`#sha256=`), which is what paddock trusts
    there: the container itself has told it. Without it while the door has none yet.
    """
    door = next((container for container in present if container.service == DOOR), None)
    if service != _API or door is None:
        return containers.url_of(present, service)
    url = containers.url_of(present, DOOR, inside=_INSIDE)
    if url is None or door.labels.get(_TLS) == "off":
        return url
    fingerprint = _fingerprint(client, door)
    return url.replace("http:", "https:", 1) + (f"{_PINNED}{fingerprint}" if fingerprint else "")


def certificate_of(url: str | None, configuration: Configuration) -> str:
    """What people are to know of the certificate of the door at `url`; empty where it has none."""
    _, pinned, fingerprint = (url or "").partition(_PINNED)
    if not pinned:
        return ""
    own = any(
        bind.target == CERTIFICATES and bind.source == NOTHING
        for service in configuration.services
        for bind in service.binds
    )
    whose = (
        "signed by the door itself: give clients the URL with what stands behind #" if own else "the site's"
    )
    return f"SHA-256 {fingerprint}, {whose}"


def as_started(folder: StackFolder, present: Sequence[Container]) -> StackFolder:
    """The stack with site.yaml where its containers were started with it, whatever `.env` says now."""
    return folder.with_site() if any(container.service == DOOR for container in present) else folder


def _fingerprint(client: docker.DockerClient, door: Container) -> str:
    """The SHA-256 of the door's certificate in hexadecimal; empty while it has none."""
    import ssl  # noqa: PLC0415 - takes time to load, and only a site needs it

    pem = containers.file_in(client, door, _CERTIFICATE)
    with suppress(ValueError):  # it is being written
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert((pem or b"").decode("ascii"))).hexdigest()
    return ""
