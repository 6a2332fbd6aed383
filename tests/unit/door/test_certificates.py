"""The certificate of the door: its own, or the site's, with the program openssl."""

from __future__ import annotations

import hashlib
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

import certificates
from certificates import Unusable

# Openssl 3.0 makes none that has ended: 3.5 made this one, with -not_after 20210101000000Z.
EXPIRED = """\
-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUf6zfXVZt6N0Yq7tVxAyuQK1CeQUwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLb2NyLmV4YW1wbGUwHhcNMjAwMTAxMDAwMDAwWhcNMjEwMTAx
MDAwMDAwWjAWMRQwEgYDVQQDDAtvY3IuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABHrLK/2X1fih/k3aSsJQEWLgmPXx3zDvALQG4SAR2AcaH9EM+LQq
UhDNdetPT0aVxvdRhW53BzMcEVUjlbBrQe6jUzBRMB0GA1UdDgQWBBQ4UptCVEgl
f7lEEsVESJEbteH9nzAfBgNVHSMEGDAWgBQ4UptCVEglf7lEEsVESJEbteH9nzAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDmlfbOHuG2c23U/bq4
nIGsfJ+S0WsYOBlZdaU1OAnqkQIgaTSfU1lRU6rQEsvdhzy70PeTCnAsSQHEviNO
PhNVCtY=
-----END CERTIFICATE-----
"""

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "KEPT", tmp_path)
    monkeypatch.setattr(certificates, "OWN", tmp_path / "door.pem")
    monkeypatch.setattr(certificates, "SHOWN", tmp_path / "certificate.pem")
    monkeypatch.setattr(certificates, "SITE", tmp_path / "tls/door.pem")
    (tmp_path / "tls").mkdir()


def made_by_the_site(*options: str) -> None:
    """A certificate of the site's own with its key in one file."""
    key, chain = certificates.SITE.with_name("key"), certificates.SITE.with_name("chain")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-subj", "/CN=ocr.example", "-keyout", str(key), "-out", str(chain), *options),
        ],
        check=True,
        capture_output=True,
    )
    certificates.SITE.write_bytes(chain.read_bytes() + key.read_bytes())


def test_a_certificate_is_made_once_and_kept() -> None:
    first = certificates.chosen(site=False, names=())
    again = certificates.chosen(site=False, names=())
    assert first == again
    shown = certificates.SHOWN.read_text()
    assert "PRIVATE" not in shown
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()
    assert first.fingerprint.replace(":", "").lower() == digest
    assert stat.S_IMODE(certificates.OWN.stat().st_mode) == 0o600
    assert sorted(path.name for path in certificates.KEPT.iterdir()) == ["certificate.pem", "door.pem", "tls"]


def test_it_is_for_the_names_of_the_site_and_made_again_for_others() -> None:
    first = certificates.chosen(site=False, names=("ocr.example", "192.0.2.7"))
    assert certificates.chosen(site=False, names=("192.0.2.7",)) == first
    other = certificates.chosen(site=False, names=("ocr.example", "scan.example"))
    assert other != first
    text = certificates.openssl("x509", "-in", str(other.path), "-noout", "-text").stdout
    assert "DNS:localhost, IP Address:127.0.0.1, DNS:ocr.example, DNS:scan.example" in text


def test_a_part_of_a_name_is_another_name() -> None:
    certificates.chosen(site=False, names=("big.ocr.example",))
    assert not certificates.is_current(("ocr.example",))
    assert not certificates.is_current(("big.ocr",))


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(Unusable, match="DOOR_NAMES"):
        certificates.chosen(site=False, names=("a,DNS:=b\n[",))


def test_one_of_its_own_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "DAYS", 20)
    first = certificates.chosen(site=False, names=())
    assert certificates.ends_soon(first)
    monkeypatch.setattr(certificates, "DAYS", 825)
    second = certificates.chosen(site=False, names=())
    assert second != first
    assert not certificates.ends_soon(second)


def test_the_sites_own_is_taken_as_it_is() -> None:
    made_by_the_site("-days", "10")
    found = certificates.chosen(site=True, names=())
    assert found.path == certificates.SITE
    assert certificates.ends_soon(found)


def test_an_expired_one_is_refused() -> None:
    certificates.SITE.write_text(EXPIRED)
    with pytest.raises(Unusable, match=r"expired on Jan  1 00:00:00 2021 GMT, expected one that holds"):
        certificates.chosen(site=True, names=())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "found no file door.pem"),
        (b"nothing", "found no certificate in door.pem"),
        ("chain", "found no private key"),
    ],
)
def test_what_cannot_be_used_says_why(content: bytes | str | None, why: str) -> None:
    if content == "chain":
        made_by_the_site("-days", "10")
        certificates.SITE.write_bytes(certificates.SITE.with_name("chain").read_bytes())
    elif isinstance(content, bytes):
        certificates.SITE.write_bytes(content)
    with pytest.raises(Unusable, match=why):
        certificates.chosen(site=True, names=())
