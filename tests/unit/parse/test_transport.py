"""Connections: waits that end at once, proxies, and why no answer came."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from paddock.errors import Interrupted, PaddockError, UnhealthyError, UnreachableError
from paddock.parse.client import Client
from paddock.parse.document import inspect
from paddock.parse.wire import ParseOptions
from pipeline_api import HOSTILE, Faults, Maker, PipelineApi, failure, parse, quick_client
from programs import free_port, run, succeeded


def test_nobody_listens(make: Maker) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = Client(url, timeout=60)
    with pytest.raises(UnreachableError) as caught:
        client.parse(inspect(make.image("a.png")), ParseOptions())
    assert caught.value.message == f"{url}: no pipeline API answers there: Connection refused"
    assert "`paddock up TARGET`" in caught.value.hint


def test_a_slow_server(api: PipelineApi, make: Maker) -> None:
    api.answer = api.hold
    error = failure(api, make.image("a.png"), timeout=0.2)
    assert error.message == f"{api.url}: no answer within 0.2 s"
    assert "--timeout" in error.hint
    assert len(api.requests) == 1


def test_abort_ends_a_wait_in_another_thread(api: PipelineApi, make: Maker) -> None:
    api.answer = api.hold
    caught: list[BaseException] = []

    def work() -> None:
        try:
            client.parse(document, ParseOptions())
        except PaddockError as error:
            caught.append(error)

    document = inspect(make.image("a.png"))
    client = quick_client(api.url)
    worker = threading.Thread(target=work)
    worker.start()
    assert api.received.acquire(timeout=30)
    client.abort()
    worker.join(30)
    assert not worker.is_alive()
    assert isinstance(caught[0], Interrupted)
    with pytest.raises(Interrupted):  # and nothing starts after it
        client.parse(document, ParseOptions())


def test_a_proxy_is_not_asked_about_this_machine(
    api: PipelineApi, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(parse(api, make.image("a.png")).pages) == 1


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("http://127.0.0.1:PORT", "Connection refused"),
        ("127.0.0.1:PORT", "Connection refused"),
        ("socks5h://me:secret@127.0.0.1:PORT", "found socks5h://127.0.0.1:PORT, expected an HTTP proxy"),
        ("socks4://127.0.0.1", "found socks4://127.0.0.1, expected an HTTP proxy"),
        ("ftp://127.0.0.1", "found ftp://127.0.0.1, expected an HTTP proxy"),
        ("http://", "found http://, expected an HTTP proxy"),
        ("http://host:port", "its address is not a URL"),
        ("http://[::1", "its address is not a URL"),
        ("http://host:99999", "its address is not a URL"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str, found: str
) -> None:
    port = str(free_port())
    monkeypatch.setenv(name, address.replace("PORT", port))
    began = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        Client("http://pipeline.invalid", timeout=60).check_health()
    assert time.monotonic() - began < 1
    assert f"the proxy did not connect: {found.replace('PORT', port)}" in caught.value.message
    assert "secret" not in caught.value.message
    assert "unset it, name an HTTP proxy there, or list the API's host in NO_PROXY" in caught.value.hint


@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_cannot_be_used_does_not_matter_where_none_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    for name, value in {"NO_PROXY": "pipeline.invalid", "no_proxy": ".invalid", "http_proxy": ""}.items():
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            with pytest.raises(UnreachableError) as caught:
                Client("http://pipeline.invalid", timeout=60).check_health()
        assert ("proxy" in caught.value.message) is (name == "http_proxy")


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("host", ["a..b", "*.example", "x" * 70, "a b"])
def test_a_name_that_no_host_can_have(make: Maker, host: str) -> None:
    client = Client(f"http://{host}", timeout=60)
    with pytest.raises(UnreachableError, match="no pipeline API can be there"):
        client.parse(inspect(make.image("a.png")), ParseOptions())


# --- servers that mean harm ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drips", "drips_headers"])
def test_the_time_for_a_document_is_over_whatever_trickles_in(
    api: PipelineApi, make: Maker, faults: type[Faults], fault: str
) -> None:
    api.answer = getattr(faults, fault)
    began = time.monotonic()
    error = failure(api, make.image("a.png"), timeout=0.5)
    assert error.message == f"{api.url}: no answer within 0.5 s"
    assert time.monotonic() - began < 20
    assert len(api.requests) <= 1  # on a busy machine it may not even come to that


def test_the_time_is_over_while_a_document_is_sent(make: Maker) -> None:
    """Nobody reads at the other end, so the buffers fill up."""
    path = make.data("a.png", make.image("b.png").read_bytes() + bytes(40 << 20))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = quick_client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1.0)
        with pytest.raises(UnhealthyError, match="no answer within 1 s"):
            client.parse(inspect(path), ParseOptions())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_time_is_over_while_a_connection_is_made(make: Maker, scheme: str) -> None:
    """One byte of a TLS handshake now and then, or nothing at all."""

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while True:
                connection.sendall(b"\0")
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = threading.Thread(target=trickle)
        worker.start()
        client = quick_client(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5)
        began = time.monotonic()
        with pytest.raises(PaddockError):
            client.parse(inspect(make.image("a.png")), ParseOptions())
        assert time.monotonic() - began < 20
        worker.join(60)
        assert not worker.is_alive()


def test_nothing_compressed_is_asked_for(api: PipelineApi, make: Maker) -> None:
    parse(api, make.image("a.png"), timeout=float("inf"))
    assert api.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("answer", HOSTILE)
def test_an_answer_that_means_harm_is_one_error(api: PipelineApi, make: Maker, answer: str) -> None:
    api.answer = HOSTILE[answer]
    error = failure(api, make.image("a.png"))
    assert isinstance(error, UnhealthyError)
    assert len(error.message.splitlines()) == 1
    assert len(error.message) < 2000
    assert len(api.requests) == 1


def test_an_answer_may_be_as_large_as_its_pages(api: PipelineApi, make: Maker) -> None:
    api.answer = HOSTILE["endless"]
    assert "refused its answer: found more than 83,886,080 bytes" in failure(api, make.image("a.png")).message
    assert "refused its answer: found more than 100,663,296 bytes" in (
        failure(api, make.pdf("a.pdf", pages=2)).message
    )


@pytest.mark.parametrize(
    ("status", "words"), [(413, "refused it"), (401, "wants an API key"), (400, "refused it")]
)
def test_an_answer_that_comes_before_the_document_was_read(
    api: PipelineApi, make: Maker, status: int, words: str
) -> None:
    """The API closes the connection while we still send."""
    api.refusal = (status, json.dumps({"errorCode": status, "errorMsg": "not this one"}).encode())
    path = make.data("a.png", make.image("b.png").read_bytes() + bytes(20 << 20))
    error = failure(api, path)
    assert f"{words} ({'answer ' if status == 401 else ''}{status}" in error.message
    assert "not this one" in error.message


def test_memory_stays_small_and_the_batch_goes_on(api: PipelineApi, make: Maker, tmp_path: Path) -> None:
    """Every kind of harm at once, from a program that says how much memory it used at most."""
    faults = [*HOSTILE.values(), *[api.parse] * 3]
    api.next.extend(faults)
    for number in range(len(faults)):
        make.image(f"in/{number:02}.png", shade=number)
    program = (
        "import sys; from paddock.door import run; status = run(sys.argv[1:]); "
        "[peak] = [line for line in open('/proc/self/status') if line.startswith('VmHWM')]; "
        "print(peak.split()[1], file=sys.stderr); sys.exit(status)"
    )
    command = ["parse", "in", "-o", "out", "--url", api.url, "--json", "--jobs", "4"]
    done = run(sys.executable, "-c", program, *command, cwd=tmp_path, limit=600)
    assert done.returncode == 8, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["failed"]) == (3, len(HOSTILE))
    assert all(document["reason"] for document in summary["documents"] if document["status"] == "failed")
    assert int(done.stderr.splitlines()[-1]) < 300 << 10  # kB; Python and its libraries are 50 MB of it
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody signed, for a name that nobody has, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    made = succeeded(
        run(
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
            *("-subj", "/CN=nobody", "-keyout", folder / "key", "-out", folder / "chain"),
        )
    )
    assert made == ""
    (folder / "door.pem").write_bytes((folder / "chain").read_bytes() + (folder / "key").read_bytes())
    return folder / "door.pem"


@pytest.mark.needs("openssl")
def test_the_one_certificate_that_a_url_names_is_trusted_and_no_other(
    api: PipelineApi, make: Maker, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever signed it, whatever name it has, and whatever bundle of authorities the shell names."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("chain")))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.with_name("chain").read_text())).hexdigest()
    url = api.behind_tls(certificate)
    page = inspect(make.image("a.png"))
    assert quick_client(f"{url}#sha256={digest}").parse(page, ParseOptions()).pages
    for other in (url, f"{url}#sha256={'0' * 64}"):
        with pytest.raises(PaddockError, match=r"certificate|Fingerprints did not match"):
            quick_client(other).parse(page, ParseOptions())
