"""The addresses of pipeline APIs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from paddock.errors import UsageError
from paddock.parse.client import Client
from paddock.parse.connection import Address, read_url


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://host", "http://", "http://host:port", "", "http://h:99999"]
)
def test_not_a_url(url: str) -> None:
    with pytest.raises(UsageError):
        Client(url)


def test_a_password_in_the_url_is_not_shown() -> None:
    client = Client("http://me:secret@[::1]:8080/api/")
    assert client.url == "http://[::1]:8080/api"


def test_what_an_address_is() -> None:
    assert read_url("https://me:secret@ocr.example/api/") == Address(
        base="https://me:secret@ocr.example/api",
        shown="https://ocr.example/api",
        local=False,
        exposed=False,
        has_password=True,
    )
    here = read_url("http://localhost:8080")
    assert (here.local, here.exposed, here.has_password) == (True, False, False)
    assert read_url("http://10.0.0.7:8080").exposed


def test_the_one_certificate_that_is_trusted() -> None:
    colons = ":".join(["0A"] * 32)
    pinned = read_url(f"https://ocr.example:8443/#sha256={colons}")
    assert pinned.fingerprint == "0a" * 32
    assert (pinned.base, pinned.shown) == ("https://ocr.example:8443", "https://ocr.example:8443")
    assert read_url(pinned.url) == pinned
    assert read_url("https://ocr.example").fingerprint == ""


@pytest.mark.parametrize(
    "url",
    ["https://ocr.example#sha256=0a", "https://ocr.example#top", f"http://ocr.example#sha256={'0a' * 32}"],
)
def test_a_fragment_that_is_no_certificate(url: str) -> None:
    with pytest.raises(UsageError, match="expected the SHA-256 of a certificate"):
        read_url(url)


def test_parsing_is_imported_without_the_libraries_that_load_slowly() -> None:
    """`paddock parse --help`, `up` and `status` must not wait for them."""
    program = (
        "import sys, paddock.parse.batch, paddock.parse.readiness; "
        "assert not {'requests', 'urllib3', 'pypdfium2', 'PIL', 'concurrent.futures'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
