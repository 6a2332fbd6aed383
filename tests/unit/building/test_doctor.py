"""Asking container registries, against a real one on this machine: tokens, lists, single images, refusals,
silence.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from paddock.building import doctor
from paddock.building.containerregistry import Reference, Verdict, look_up
from paddock.errors import ConfigurationError, DataError
from paddock.matrix import pins
from paddock.matrix.load import load_registry
from paddock.matrix.records import Base, Platform
from paddock.paths import templates

DIGEST = "sha256:" + "a1" * 32
LIST = {"manifests": [{"platform": {"os": "linux", "architecture": each}} for each in ("amd64", "arm64")]}
ATTESTED = {"manifests": [*LIST["manifests"][:1], {"platform": {"os": "unknown", "architecture": "unknown"}}]}


class Registry(BaseHTTPRequestHandler):
    """Repositories: open/both, open/one, open/attested; token/both wants a token; the rest as its name says."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/token":
            wanted = "service=here&scope=repository%3Atoken%2Fboth%3Apull"
            self._json({"token": "let me in"} if query == wanted else {}, 200 if query == wanted else 400)
        elif path == "/v2/token/both/manifests/1.0" and self.headers["Authorization"] != "Bearer let me in":
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="repository:token/both:pull"'
            self._json({}, 401, {"WWW-Authenticate": challenge})
        elif path in ("/v2/open/both/manifests/1.0", "/v2/token/both/manifests/1.0"):
            assert "image.index" in self.headers["Accept"]
            self._json(LIST, 200, {"Docker-Content-Digest": DIGEST})
        elif path == "/v2/open/attested/manifests/1.0":
            self._json(ATTESTED, 200)
        elif path == "/v2/open/one/manifests/1.0":
            self._json({"config": {"digest": "sha256:c"}}, 200)
        elif path == "/v2/open/one/blobs/sha256:c":
            self._json({"os": "linux", "architecture": "arm64"}, 200)
        elif path == "/v2/odd/odd/manifests/1.0":
            self._json([1], 200)
        else:
            status = {"closed": 403, "busy": 429, "broken": 503}.get(path.split("/")[2], 404)
            self._json({}, status)

    def _json(self, body: object, status: int, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        one.trust_env = False
        yield one


@pytest.mark.parametrize(
    ("repository", "platform", "verdict", "detail"),
    [
        ("open/both", Platform.AMD64, Verdict.PRESENT, ""),
        ("open/both", Platform.ARM64, Verdict.PRESENT, ""),
        ("token/both", Platform.AMD64, Verdict.PRESENT, ""),
        ("open/one", Platform.ARM64, Verdict.PRESENT, ""),
        ("open/one", Platform.AMD64, Verdict.OTHER_PLATFORM, "only for linux/arm64"),
        ("open/attested", Platform.ARM64, Verdict.OTHER_PLATFORM, "only for linux/amd64"),
        ("open/none", Platform.AMD64, Verdict.ABSENT, "does not have it"),
        ("closed/it", Platform.AMD64, Verdict.REFUSED, "403; it is not there, or wants a login"),
        ("busy/it", Platform.AMD64, Verdict.REFUSED, "429; too many requests"),
        ("broken/it", Platform.AMD64, Verdict.UNREACHABLE, "answers 503"),
        ("odd/odd", Platform.AMD64, Verdict.UNREACHABLE, "makes no sense"),
    ],
)
def test_what_a_registry_says(
    address: str,
    session: requests.Session,
    repository: str,
    platform: Platform,
    verdict: Verdict,
    detail: str,
) -> None:
    answer = look_up(f"{address}/{repository}:1.0", platform, session=session)
    assert answer.verdict is verdict, answer
    assert detail in answer.detail
    assert answer.digest == (DIGEST if repository.endswith("/both") else "")


def test_nobody_answers(session: requests.Session) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        name = f"127.0.0.1:{taken.getsockname()[1]}/a/b:1.0"
        answer = look_up(name, Platform.AMD64, session=session)
    assert answer.verdict is Verdict.UNREACHABLE
    assert answer.detail.endswith("connection refused")


@pytest.mark.parametrize(
    ("name", "host", "repository", "version"),
    [
        ("debian:bookworm-slim", "docker.io", "library/debian", "bookworm-slim"),
        ("vllm/vllm-openai:v1", "docker.io", "vllm/vllm-openai", "v1"),
        ("quay.io/ascend/vllm-ascend:v0.13.0-310p", "quay.io", "ascend/vllm-ascend", "v0.13.0-310p"),
        ("harbor.example:5000/proxy/debian", "harbor.example:5000", "proxy/debian", "latest"),
        (f"quay.io/a/b:1@{DIGEST}", "quay.io", "a/b", DIGEST),
    ],
)
def test_names_are_completed_as_docker_does(name: str, host: str, repository: str, version: str) -> None:
    assert Reference.of(name) == Reference(host=host, repository=repository, version=version)


def test_a_wrong_name_is_not_there(session: requests.Session) -> None:
    with pytest.raises(ValueError, match="expected the name of an image"):
        Reference.of("No Image")
    assert look_up("No Image", Platform.AMD64, session=session).verdict is Verdict.ABSENT


# --- the operation ------------------------------------------------------------------------------------------


class Silent:
    def say(self, message: str, /) -> None:
        assert "asking for" in message


def judged(address: str, repository: str, lock: pins.Pins, *, debootstrap: str | None = None) -> doctor.Check:
    wanted = doctor.Wanted(
        base=Base(image=f"{repository}:1.0", debootstrap=debootstrap),
        platform=Platform.AMD64,
        used_by=("cpu-api",),
    )
    (check,) = doctor.check_base_images(
        [wanted],
        lock,
        base_registry=f"{address}/",
        ca_bundle=None,
        report=Silent(),  # type: ignore[arg-type]
    )
    return check


def test_a_tag_that_moved_is_not_well(address: str) -> None:
    def lock(digest: str) -> pins.Pins:
        return pins.Pins(bases={"open/both:1.0": {Platform.AMD64: pins.PinnedBase(digest=digest)}})

    assert judged(address, "open/both", lock(DIGEST)).well
    moved = judged(address, "open/both", lock("sha256:" + "0" * 64))
    assert not moved.well
    assert DIGEST in moved.found


def test_who_starts_from_what_is_not_there(address: str) -> None:
    check = judged(address, "open/none", pins.Pins())
    assert not check.well
    assert "not there" in check.found
    assert "cpu-api start from it" in check.hint


def test_silence_is_well_only_where_the_base_can_be_made_here(address: str) -> None:
    assert judged(address, "broken/it", pins.Pins(), debootstrap="bookworm").well
    check = judged(address, "broken/it", pins.Pins())
    assert not check.well
    assert "--base-registry" in check.hint


def test_every_base_is_asked_for_once_for_each_platform() -> None:
    data = load_registry(templates())
    found = doctor.wanted(data.targets.values())
    pairs = [(each.image, each.platform) for each in found]
    assert len(pairs) == len(set(pairs)) >= 2
    asked = {name for each in found for name in each.used_by}
    assert asked == {name for target in data.targets.values() for name in doctor.images_of(target)}


def test_every_image_of_upstreams_is_asked_for_once_for_each_platform() -> None:
    data = load_registry(templates())
    found = doctor.wanted_of_upstream(data.targets.values())
    pairs = [(each.image, each.platform) for each in found]
    assert len(pairs) == len(set(pairs)) >= 10
    assert {name for each in found for name in each.used_by} == {
        f"{target.name}-{key}" for target in data.targets.values() for key in target.upstream
    }


def test_no_build_needs_an_image_of_upstreams(address: str) -> None:
    wanted = doctor.Wanted(
        base=Base(image=f"{address}/open/none:1.0"),
        platform=Platform.AMD64,
        used_by=("one-api",),
        upstream=True,
    )
    (check,) = doctor.check_base_images(
        [wanted],
        pins.Pins(),
        base_registry="nowhere.invalid/",
        ca_bundle=None,
        report=Silent(),  # type: ignore[arg-type]
    )
    assert not check.well
    assert "nowhere.invalid" not in check.what
    assert "in the place of one-api, no build needs it" in check.hint


def test_without_an_engine_the_command_says_so_and_exits_9() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paddock", "doctor", "cpu-offline", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9
    assert "checks are not well" in done.stderr
    checks = {each["what"]: each for each in json.loads(done.stdout)}
    assert not checks["Docker Engine"]["well"]
    assert set(checks) == {"Docker Engine", "Docker Compose", "Docker Buildx", "room on this disk"}


# --- the lock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bases:\n  a:\n    linux/amd64: {}\n", "found neither"),
        (f'bases:\n  a:\n    linux/amd64: {{digest: "{DIGEST}", unpinned: no}}\n', "unpinned: found"),
        (f'bases:\n  a:\n    linux/amd64: {{digest: "{DIGEST}", unpinned: "why"}}\n', "found both"),
        ("bases:\n  a:\n    linux/amd64: {digest: latest}\n", "expected a digest"),
        ("weights:\n  a:\n    huggingface: {revision: main}\n", "expected a commit"),
        ("weights:\n  a:\n    somewhere: {unpinned: why}\n", "somewhere"),
    ],
)
def test_half_pinned_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / pins.FILE).write_text(text)
    with pytest.raises((ConfigurationError, DataError), match=reason):
        pins.load(tmp_path)
