"""Signatures: of links to results, which work without a key until they expire, and of what webhooks are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from urllib.parse import quote, urlencode

SECRET_BYTES = 32


def secret(file: Path) -> bytes:
    """The secret in a file, made at first use; whoever makes it at the same time gets the same."""
    if not file.exists():
        part = file.with_name(f"{file.name}.{secrets.token_hex(6)}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secrets.token_hex(SECRET_BYTES))
            made.flush()
            os.fsync(made.fileno())
        try:
            os.link(part, file)
        except FileExistsError:
            pass
        finally:
            part.unlink()
    return bytes.fromhex(file.read_text("ascii"))


class Links:
    """Links to the files of results. Job, name and expiry are under the signature; nothing is remembered."""

    def __init__(self, key: bytes, lifetime: int) -> None:
        self._key = key
        self._lifetime = lifetime  # seconds

    def expiry(self) -> int:
        """When a link that is made now expires, in seconds since 1970."""
        return int(time.time()) + self._lifetime

    def to(self, job: str, name: str, expires: int) -> str:
        """Path and query of a link."""
        query = urlencode({"expires": expires, "signature": self._signature(job, name, str(expires))})
        return f"/api/v2/ocr/results/{job}/{quote(name, safe='')}?{query}"

    def holds(self, job: str, name: str, expires: str, signature: str) -> bool:
        """Whether the signature is ours; `expires` is still to be compared with the clock."""
        given = signature.encode("utf-8", "replace")
        return hmac.compare_digest(self._signature(job, name, expires).encode(), given)

    def _signature(self, job: str, name: str, expires: str) -> str:
        signed = f"GET\n{expires}\n{job}\n{name}".encode("utf-8", "replace")
        return base64.urlsafe_b64encode(hmac.digest(self._key, signed, "sha256")).rstrip(b"=").decode()


def hook_signature(key: bytes, at: int, body: bytes) -> str:
    """The value of `X-Paddock-Signature`: the time, and HMAC-SHA256 in hex of `TIME.BODY`."""
    return f"t={at},v1={hmac.new(key, b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"
