"""SHA-256 in its two spellings: bare hexadecimal digits for files, `sha256:<digits>` for OCI digests."""

from __future__ import annotations

import hashlib


def sha256(data: bytes) -> str:
    """The SHA-256 of a file's content as hexadecimal digits, as `sha256sum` prints it."""
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes) -> str:
    """The OCI digest of a blob, or the diff id of a layer's tar."""
    return f"sha256:{sha256(data)}"


def digest_of(hasher: hashlib._Hash) -> str:
    """The OCI digest of all bytes that a SHA-256 hasher was fed."""
    return f"sha256:{hasher.hexdigest()}"
