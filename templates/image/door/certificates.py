"""The certificate of the door: the site's own, or one that the door signs itself and keeps in its volume.

Certificates are looked at with the program `openssl`, as whoever runs the site would.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

SITE = Path("/etc/paddock/tls/door.pem")  # certificate chain and key in one file
KEPT = Path("/var/lib/door")
OWN = KEPT / "door.pem"
SHOWN = KEPT / "certificate.pem"  # the certificate in use, for clients and for `paddock up`; never a key
DAYS = 825  # the most that clients of Apple's take
RENEWED_BEFORE = 30 * 86400  # seconds before a certificate of our own ends
WARNED_BEFORE = 14 * 86400  # seconds before one of the site's does
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class Unusable(Exception):  # noqa: N818 - it is a certificate's
    """A certificate that no client could trust, or none at all."""


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key: where it is, its SHA-256 as openssl prints it, and when it ends."""

    path: Path
    fingerprint: str
    ends: str


def chosen(*, site: bool, names: tuple[str, ...]) -> Certificate:
    """The certificate to use. `site` takes the site's, else one for `names` is made where none is kept.

    Raises Unusable where the site's cannot be used.
    """
    if site:
        found = looked_at(SITE)
        if openssl("x509", "-in", str(SITE), "-noout", "-checkend", "0").returncode:
            raise Unusable(f"found a certificate that expired on {found.ends}, expected one that holds")
        if b"PRIVATE KEY-----" not in SITE.read_bytes():
            raise Unusable("found no private key behind the certificates, expected one in the same file")
    else:
        if not is_current(names):
            make(names)
        found = looked_at(OWN)
    (leaf, *_) = BLOCK.findall(found.path.read_text("ascii", "replace"))
    SHOWN.unlink(missing_ok=True)  # somebody else's, where RUN_AS has changed
    SHOWN.write_text(leaf, "ascii")
    return found


def ends_soon(certificate: Certificate) -> bool:
    """Whether it is time to renew a certificate, or to say that somebody must."""
    left = RENEWED_BEFORE if certificate.path == OWN else WARNED_BEFORE
    return bool(openssl("x509", "-in", str(certificate.path), "-noout", "-checkend", str(left)).returncode)


def is_current(names: tuple[str, ...]) -> bool:
    """Whether the certificate that is kept holds for a while, and for these names."""
    if not OWN.is_file():
        return False
    listed = openssl("x509", "-in", str(OWN), "-noout", "-ext", "subjectAltName")
    holds = openssl("x509", "-in", str(OWN), "-noout", "-checkend", str(RENEWED_BEFORE)).returncode == 0
    return holds and all(re.search(rf"[:,] ?{re.escape(name)}(,|$)", listed.stdout, re.M) for name in plain(names))


def make(names: tuple[str, ...]) -> None:
    """Sign a certificate for these names and keep it with its key, readable for the door alone."""
    alternatives = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in plain(names))
    key, certificate, part = (KEPT / name for name in ("key.part", "certificate.part", "door.part"))
    done = openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", str(DAYS), "-subj", "/CN=paddock", "-addext", f"subjectAltName={alternatives}"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    if done.returncode:
        raise Unusable(f"found names that no certificate can be made for (DOOR_NAMES): {done.stderr.strip()[-200:]}")
    part.touch(mode=0o600)
    part.write_bytes(certificate.read_bytes() + key.read_bytes())
    part.replace(OWN)
    key.unlink()
    certificate.unlink()


def plain(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a certificate of our own: those by which this host is always called come first."""
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", *names)))


def is_address(name: str) -> bool:
    """Whether it is an address instead of a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def looked_at(path: Path) -> Certificate:
    """A certificate's facts. Raises Unusable for a file that holds none."""
    if not path.is_file():
        raise Unusable(f"found no file {path.name}, expected the certificate chain and its key in it")
    done = openssl("x509", "-in", str(path), "-noout", "-fingerprint", "-sha256", "-enddate")
    facts = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    fingerprint = next((value for name, value in facts.items() if name.lower().endswith("fingerprint")), "")
    if done.returncode or not fingerprint:
        raise Unusable(f"found no certificate in {path.name}, expected the chain and its key as PEM")
    return Certificate(path=path, fingerprint=fingerprint, ends=facts.get("notAfter", "an unknown day"))


def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run openssl, whatever its exit status."""
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, umask=0o077)
