"""The files of a stack inside a bundle, and the settings among them that an import always replaces."""

from __future__ import annotations

from paddock.bundle.format.manifest import File, Manifest

STACK = "stack/"  # the folder of a bundle that has them
MARK = (
    ".paddock-bundle"  # in a site's folder: the id of the bundle that it came from, then the bundle's files
)

# Settings of `.env` that come with the bundle: a site's own value of them would lead to other images.
OF_THE_BUNDLE = (
    "IMAGES",
    "UPSTREAM_PREFIX",
    "UPSTREAM_PROGRAMS",
    "IMAGE_PREFIX",
    "IMAGE_VERSION",
    "PULL_POLICY",
)


def files(manifest: Manifest) -> tuple[File, ...]:
    """The files of the stack that a bundle carries."""
    return tuple(file for file in manifest.files if file.path.startswith(STACK))
