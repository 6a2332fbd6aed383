"""Links to documents: only to hosts that are named, at addresses that are meant."""

from __future__ import annotations

import ipaddress

import pytest

from limits import Refusal
from links import Allowed, is_link


@pytest.mark.parametrize(
    "file", ["http://a/b", "https://a", "file:///etc/passwd", "ftp://a/b", "gopher:x", "HTTP://A"]
)
def test_links_are_known_as_such(file: str) -> None:
    assert is_link(file)


@pytest.mark.parametrize("file", ["JVBERi0xLjc=", "data:application/pdf;base64,JVBERi0", ""])
def test_base64_is_no_link(file: str) -> None:
    assert not is_link(file)


@pytest.mark.parametrize(
    "link",
    [
        "http://files.example/a.pdf",
        "http://files.example:80/a.pdf",
        "https://files.example/a.pdf",
        "http://store.example:9000/a?b=c",
        "http://10.1.2.3/a.pdf",
        "http://[fd00::1]:81/a",
    ],
)
def test_named_hosts_are_opened(link: str) -> None:
    allowed = Allowed.read(("files.example", "store.example:9000", "10.1.2.3", "[fd00::1]:81"))
    allowed.require(link)


@pytest.mark.parametrize(
    "link",
    [
        "http://other.example/",
        "http://files.example.evil.example/",
        "http://files.example:8080/",
        "http://store.example/",
        "http://store.example:9001/",
        "http://files.example@evil.example/",
        "http://user:secret@files.example/",
        "file://files.example/etc/passwd",
        "ftp://files.example/a",
        "http://vlm:8080/v1/models",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:10.1.2.3]/",
        "http://[broken/",
        "http://files.example:99999/",
        "http:///a",
    ],
)
def test_every_other_link_is_refused(link: str) -> None:
    with pytest.raises(Refusal) as caught:
        Allowed.read(("files.example", "store.example:9000")).require(link)
    assert caught.value.status == 422


def test_without_names_the_refusal_says_what_to_do() -> None:
    with pytest.raises(Refusal, match="send the document itself as base64"):
        Allowed.read(()).require("http://files.example/")


@pytest.mark.parametrize(
    ("address", "host", "permitted"),
    [
        ("93.184.216.34", "files.example", True),
        ("10.9.8.7", "files.example", True),  # in the named network
        ("10.1.2.3", "10.1.2.3", True),
        ("192.168.1.1", "192.168.1.1", True),  # an address that was named is an address that is meant
        ("192.168.1.1", "files.example", False),
        ("127.0.0.1", "files.example", False),
        ("169.254.169.254", "files.example", False),
        ("172.18.0.2", "files.example", False),
        ("100.64.0.1", "files.example", False),
        ("0.0.0.0", "files.example", False),
        ("224.0.0.1", "files.example", False),
        ("::1", "files.example", False),
        ("fe80::1", "files.example", False),
        ("fd00::5", "files.example", False),
        ("::ffff:127.0.0.1", "files.example", False),
        ("::ffff:10.9.8.7", "files.example", True),
        ("2001:4860:4860::8888", "files.example", True),
    ],
)
def test_a_name_leads_to_no_address_that_is_not_meant(address: str, host: str, permitted: bool) -> None:
    allowed = Allowed.read(("files.example", "10.1.2.3", "10.0.0.0/8"))
    assert allowed.permits(ipaddress.ip_address(address), host) is permitted


@pytest.mark.parametrize("entry", ["http://files.example", "10.0.0.0/33", "files.example:x", ":80"])
def test_a_wrong_entry_ends_the_start(entry: str) -> None:
    with pytest.raises(SystemExit, match="ALLOW_URLS: found"):
        Allowed.read((entry,))
