"""The files of a stack inside a bundle, and which of them belong to the bundle rather than to the site."""

from __future__ import annotations

from paddock.bundle.format.manifest import File, Manifest

STACK = "stack/"  # where a bundle has it
MARK = ".paddock-bundle"  # the id of the bundle that a folder came from, then the files that it brought

# A site's old value of these would lead to other images.
OF_THE_BUNDLE = ("IMAGES", "UPSTREAM_PREFIX", "IMAGE_PREFIX", "IMAGE_VERSION", "PULL_POLICY")


def files(manifest: Manifest) -> tuple[File, ...]:
    """What a bundle brings of a stack."""
    return tuple(each for each in manifest.files if each.path.startswith(STACK))
