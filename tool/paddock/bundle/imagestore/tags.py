"""Names of images: giving one, the one that keeps what had it before, and those of an import's time."""

from __future__ import annotations

from paddock.bundle.imagestore.store import refused
from paddock.engine import docker

STAGING = "paddock-incoming"  # repository of the names that images have while they are being loaded
_LONGEST_TAG = 128  # characters
_PREVIOUS = "-previous"


def previous_name(reference: str) -> str:
    """The name of the image that had `reference` before the last import; load.sh gives the same."""
    repository, tag = _split(reference)
    return f"{repository}:{(tag or 'latest')[: _LONGEST_TAG - len(_PREVIOUS)]}{_PREVIOUS}"


def is_staging(reference: str, bundle: str = "") -> bool:
    """Whether an image is called so while that bundle is imported, or any bundle."""
    return reference.startswith(f"{STAGING}:{bundle}-" if bundle else f"{STAGING}:")


def switch(client: docker.DockerClient, reference: str, image: str) -> None:
    """Give the image with this id the name `reference`, and take it from the image that has it."""
    repository, tag = _split(reference)
    try:
        client.api.tag(image, repository, tag or "latest")
    except docker.errors.DockerException as failure:
        raise refused(failure) from failure


def _split(reference: str) -> tuple[str, str | None]:
    from docker.utils import parse_repository_tag  # noqa: PLC0415 - loads the SDK, as `engine.docker` does

    repository, tag = parse_repository_tag(reference)
    return repository, tag
