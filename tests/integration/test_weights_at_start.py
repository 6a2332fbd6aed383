"""An online stack whose weights come at its first start: through a proxy, from a bad server."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import programs
from compose_projects import containers_of, inspected, resources_of
from programs import PADDOCK, Finished, docker, run, succeeded
from repository import REPOSITORY
from weight_sources import BadServer
from workshop import Workshop

STACK = "cpu-llama.cpp"
ELSEWHERE = "http://weights.example"  # nobody's: only a proxy leads there
SETS = ("PaddleOCR-VL-1.6-GGUF", "PP-DocLayoutV3")
SMALL = {
    "inference.json": b"{}\n",
    "inference.pdiparams": b"\x01" * 9,
    "inference.yml": b"Global:\n  model_name: NAME\n",
}


@pytest.fixture(scope="module")
def tool_image(shop: Workshop) -> Iterator[str]:
    """The tool's image under the prefix of the stack's images."""
    image = succeeded(programs.paddock("build", "tool", cwd=REPOSITORY, IMAGE_PREFIX=shop.prefix)).strip()
    yield image
    docker("image", "rm", "--force", image, check=False)


@pytest.fixture
def gateway() -> str:
    """This host's address in the engine's own network."""
    address: str = inspected("bridge")["IPAM"]["Config"][0]["Gateway"]
    return address


@pytest.fixture
def upstream(shop: Workshop, gateway: str) -> Iterator[BadServer]:
    """The test weights as Hugging Face would have them."""
    server = BadServer(gateway)
    serve_all(server, shop)
    yield server
    server.close()


@pytest.fixture
def upstream_with_tls(shop: Workshop, gateway: str, tmp_path: Path) -> Iterator[BadServer]:
    """The same behind a certificate that only cert.pem vouches for."""
    names = f"subjectAltName=IP:{gateway}"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody")
    succeeded(run(*request, "-addext", names, "-keyout", key, "-out", certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = BadServer(gateway, tls=context)
    serve_all(server, shop)
    yield server
    server.close()


def serve_all(server: BadServer, shop: Workshop) -> None:
    for name in SETS:
        folder = shop.models / name
        files = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        server.serve_huggingface(name, files)
    for name in ("PP-LCNet_x1_0_doc_ori", "UVDoc"):
        server.serve_huggingface(
            name, {path: data.replace(b"NAME", name.encode()) for path, data in SMALL.items()}
        )


def asked(server: BadServer) -> set[str]:
    """The weight files that were asked for."""
    return {request.path.rpartition("/")[2] for request in server.asked if "/resolve/" in request.path}


def path_of(server: BadServer, name: str) -> str:
    return next(path for path in server.files if path.endswith(name))


def compose(folder: Path, environment: Mapping[str, str], *arguments: str) -> Finished:
    return run("docker", "compose", *arguments, cwd=folder, environment=environment, inherit=False)


def stack_folder(shop: Workshop, parent: Path, project: str, **settings: str) -> Path:
    """A folder of the stack alone, with fetch.yaml switched on."""
    folder = parent / STACK
    shutil.copytree(shop.root / "compose" / STACK, folder)
    text = (folder / ".env").read_text().replace("#COMPOSE_FILE=", "COMPOSE_FILE=")
    settings |= {"COMPOSE_PROJECT_NAME": project, "IMAGE_PREFIX": shop.prefix, "UNLOCKED_WEIGHTS": "1"}
    (folder / ".env").write_text(text + "".join(f"{name}={value}\n" for name, value in settings.items()))
    return folder


def surroundings() -> dict[str, str]:
    """The environment without what would go before .env."""
    taken = ("API_PORT", "RUN_AS", "MODELS_DIR", "CA_BUNDLE", "IMAGE_PREFIX")
    return {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower() and name not in taken
    }


@pytest.mark.usefixtures("tool_image")
def test_certificates_of_the_site_are_trusted_when_they_are_named(
    shop: Workshop, upstream_with_tls: BadServer, project: str, tmp_path: Path
) -> None:
    sources = dict.fromkeys(
        ("HF_ENDPOINT", "PADDOCK_BOS_ENDPOINT", "MODELSCOPE_ENDPOINT"), upstream_with_tls.url
    )
    folder = stack_folder(shop, tmp_path, project, **sources)
    fetch = ("up", "--exit-code-from=weights", "weights")
    without = compose(folder, surroundings(), *fetch)
    assert without.returncode == 7, without.stderr
    said = compose(folder, surroundings(), "logs", "weights").stdout
    assert "certificate is not trusted" in said
    assert "set CA_BUNDLE" in said
    (tmp_path / "cert.pem").chmod(0o644)
    named = compose(folder, {**surroundings(), "CA_BUNDLE": str(tmp_path / "cert.pem")}, *fetch)
    assert named.returncode == 0, named.stdout + named.stderr
    assert {"PaddleOCR-VL-1.6-GGUF.gguf", "inference.pdiparams"} <= asked(upstream_with_tls)


@pytest.mark.usefixtures("tool_image")
def test_weights_come_at_the_first_start_and_never_again(
    shop: Workshop, upstream: BadServer, project: str, free_port: int, tmp_path: Path
) -> None:
    folder = stack_folder(
        shop,
        tmp_path,
        project,
        API_PORT=str(free_port),
        RUN_AS="23456:0",
        HTTP_PROXY=upstream.url,
        HF_ENDPOINT=ELSEWHERE,
        PADDOCK_BOS_ENDPOINT=ELSEWHERE,
        MODELSCOPE_ENDPOINT=ELSEWHERE,
    )
    keep = surroundings()

    def paddock(*arguments: str | Path) -> Finished:
        return run(*PADDOCK, *arguments, environment={**keep, "PADDOCK_ROOT": str(shop.root)}, inherit=False)

    # A source that gives something else than it publishes: nothing starts, and it is said why.
    gguf = path_of(upstream, "GGUF.gguf")
    upstream.fail(gguf, body=b"\0" * len(upstream.files[gguf].content))
    refused = paddock("up", folder)
    assert refused.returncode == 8, refused.stderr
    assert "no source gave it" in refused.stderr
    assert "found SHA-256" in refused.stderr
    assert "this means: the weights could not be fetched" in refused.stderr
    assert "HTTPS_PROXY" in refused.stderr
    assert not containers_of(project, "vlm")
    status = paddock("status", folder)
    assert status.returncode == 8
    assert "weights is exited" in status.stderr

    # The next start takes what is missing, and goes on where a download is cut.
    came_before = asked(upstream) - {"PaddleOCR-VL-1.6-GGUF.gguf"}
    upstream.asked.clear()
    cut = path_of(upstream, "inference.pdiparams")
    upstream.fail(cut, cut_after=len(upstream.files[cut].content) // 2)
    up = paddock("up", folder)
    assert up.returncode == 0, up.stderr
    assert [asked_range is None for asked_range in upstream.ranges(cut)] == [True, False]
    assert came_before
    assert not came_before & asked(upstream)
    shown = json.loads(paddock("status", folder, "--json").stdout)["stacks"][0]
    assert shown["ready"] is True
    states = {service["service"]: service["state"] for service in shown["services"]}
    assert states == {"api": "running", "vlm": "running", "weights": "done"}

    # Only that container had a way out, and it was locked down like the others.
    container = inspected(containers_of(project, "weights")[0])
    assert set(container["NetworkSettings"]["Networks"]) == {f"{project}_download"}
    assert container["Config"]["User"] == "23456:0"
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    server = inspected(containers_of(project, "vlm")[0])
    assert set(server["NetworkSettings"]["Networks"]) == {f"{project}_inside"}
    (models,) = [mount for mount in server["Mounts"] if mount["Destination"] == "/models"]
    assert (models["Type"], models["RW"]) == ("volume", False)

    # Started again by Compose alone, without any network: nothing is asked for.
    assert paddock("down", folder).returncode == 0
    upstream.asked.clear()
    again = compose(folder, {**keep, "HTTP_PROXY": "http://127.0.0.1:9"}, "up", "--detach", "--wait")
    assert again.returncode == 0, again.stderr
    assert upstream.asked == []
    assert paddock("status", folder).returncode == 0
    assert paddock("down", folder, "--volumes").returncode == 0
    assert resources_of(project, "volume") == []
