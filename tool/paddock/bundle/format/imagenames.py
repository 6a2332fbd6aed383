"""Names of images: which of them an engine gives, and how it lists them.

An engine also finds an image by its id, by the beginning of it, and by a digest behind a name. None of these
can be given to an image that is loaded elsewhere, so a bundle names its images otherwise.
Source: the package `reference` of github.com/distribution/reference.
"""

from __future__ import annotations

import re

_HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]+)?/)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?i:{_HOST})({_PART}(?:/{_PART})*):[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")
_ID = re.compile(r"[0-9a-f]{64}")
_ASSUMED = re.compile(r"^(?:index\.)?docker\.io/(?:library/)?(?=.)")  # what engines leave out of their lists


def is_name(reference: str) -> bool:
    """Whether an engine gives an image this name: a repository and a tag, neither a digest nor an id."""
    found = _NAME.fullmatch(reference)
    return found is not None and found[1] != "sha256" and not _ID.fullmatch(found[1])


def with_tag(reference: str) -> str:
    """The reference with the tag that engines assume where none is given."""
    return reference if re.search("[:@]", reference.rpartition("/")[2]) else f"{reference}:latest"


def as_listed(reference: str) -> str:
    """The reference as engines list it: `docker.io/library/alpine:3` is `alpine:3`."""
    return _ASSUMED.sub("", reference)


def repository(reference: str) -> str:
    """What stands before the tag and the digest."""
    name = reference.partition("@")[0]
    return name[: len(name) - len(name.rpartition("/")[2])] + name.rpartition("/")[2].partition(":")[0]
