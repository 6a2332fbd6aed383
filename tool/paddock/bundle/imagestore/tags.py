"""Names of images: giving one to an image, and the name under which the one before is kept."""

from __future__ import annotations

import docker
from docker.errors import DockerException
from docker.utils import parse_repository_tag

from paddock.bundle.imagestore.store import refused

_LONGEST_TAG = 128  # characters
_PREVIOUS = "-previous"


def previous_name(reference: str) -> str:
    """The name that keeps the image which had `reference` before the last import; load.sh uses the same."""
    repository, tag = parse_repository_tag(reference)
    return f"{repository}:{(tag or 'latest')[: _LONGEST_TAG - len(_PREVIOUS)]}{_PREVIOUS}"


def switch(client: docker.DockerClient, reference: str, image: str) -> None:
    """Give the image with this id the name `reference`, whoever had it."""
    repository, tag = parse_repository_tag(reference)
    try:
        client.api.tag(image, repository, tag or "latest")
    except DockerException as failure:
        raise refused(failure) from failure
