"""The cpu stack for real: start, parse, status, faults, bad documents, hardening. All tests share one stack.

The tests that disturb it stand at the end and leave it as they found it.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
from pathlib import Path

import pytest
import requests
import yaml
from PIL import Image, ImageDraw
from pypdf import PdfReader, PdfWriter

from compose_projects import containers_of, inspected, resources_of
from programs import container_logs, docker, succeeded, wait_until
from repository import REPOSITORY
from workshop import RunningStack, Workshop

SAMPLE = REPOSITORY / "docs/sample"
TEST_WEIGHTS = "test weights: the text is not read from the page"
PREFLIGHT, UNHEALTHY, INTERRUPTED = 9, 8, 130


# --- a stack that runs --------------------------------------------------------------------------------------


def test_up_gives_the_address_and_says_that_the_weights_are_test_weights(stack: RunningStack) -> None:
    lines = stack.up.stdout.splitlines()
    assert lines[0] == stack.url
    assert "PaddleOCR-VL-1.6 (test)" in lines[1]
    assert "PP-DocLayoutV3 (test)" in lines[1]
    assert lines[2] == TEST_WEIGHTS
    assert f"docker compose --project-name {stack.project} up --detach" in stack.up.stderr


def test_up_of_a_stack_that_runs_changes_nothing(stack: RunningStack) -> None:
    before = [stack.container("api"), stack.container("vlm")]
    again = stack.shop.paddock("up", "cpu", "--project", stack.project, "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert (answer["project"], answer["url"], answer["ready"]) == (stack.project, stack.url, True)
    assert answer["weights"] == [
        {"name": "PP-DocLayoutV3", "test": True, "embedded": False},
        {"name": "PaddleOCR-VL-1.6", "test": True, "embedded": False},
    ]
    assert [stack.container("api"), stack.container("vlm")] == before


def test_smoke_asks_a_server_without_a_pipeline_in_its_own_container(
    stack: RunningStack, tmp_path: Path
) -> None:
    """The same project through a folder that knows of its VLM server only, as for a model served alone."""
    folder = shutil.copytree(stack.shop.root / "compose/cpu", tmp_path / "alone")
    document = yaml.safe_load((folder / "compose.yaml").read_text())
    del document["services"]["api"]
    (folder / "compose.yaml").write_text(yaml.safe_dump(document))
    asked = stack.shop.paddock("smoke", folder, "--project", stack.project, "--json")
    assert asked.returncode == 0, asked.stderr
    report = json.loads(asked.stdout)
    assert (report["model"], report["test_weights"]) == ("PaddleOCR-VL-1.6-0.9B", ["PaddleOCR-VL-1.6"])
    (check,) = report["checks"]
    assert (check["side"], check["check"], check["result"]) == ("VLM server", "ocr", "answered")


def test_status_for_machines(stack: RunningStack) -> None:
    asked = stack.shop.paddock("status", "cpu", "--project", stack.project, "--json")
    assert asked.returncode == 0, asked.stderr
    (status,) = json.loads(asked.stdout)["stacks"]
    assert (status["project"], status["url"]) == (stack.project, stack.url)
    assert (status["ready"], status["reason"]) == (True, "")
    assert status["model"] == "PaddleOCR-VL-1.6-0.9B"
    assert status["test_weights"] is True
    api, vlm = status["services"]
    assert (api["service"], vlm["service"]) == ("api", "vlm")
    for service in (api, vlm):
        assert (service["state"], service["health"], service["restarts"]) == ("running", "healthy", 0)
        assert 0 < service["memory_bytes"] < service["memory_limit_bytes"] == 8 * 2**30
        assert service["target"] == "cpu"
        assert service["version"]
    assert api["ports"] == [f"127.0.0.1:{stack.port}"]
    assert vlm["ports"] == []
    assert api["packages"]["paddlex"] == "3.7.2"
    assert "vllm" in vlm["packages"]


def test_status_without_a_target_shows_every_stack(stack: RunningStack) -> None:
    asked = stack.shop.paddock("status")
    assert f"{stack.project}: ready · {stack.url} · model PaddleOCR-VL-1.6-0.9B" in asked.stdout


def test_status_of_a_stack_that_is_not_started(stack: RunningStack) -> None:
    asked = stack.shop.paddock("status", "cpu", "--project", "paddock-never-started")
    assert asked.returncode == UNHEALTHY
    assert "paddock-never-started: not ready: it is not started" in asked.stderr
    assert "absent" in asked.stdout


def test_logs_show_the_requests_and_no_health_checks(stack: RunningStack, tmp_path: Path) -> None:
    assert stack.parse(SAMPLE / "receipt.png", to=tmp_path).returncode == 0
    shown = stack.shop.paddock("logs", "cpu", "api", "--project", stack.project, "--tail", "50")
    assert shown.returncode == 0, shown.stderr
    assert "POST /layout-parsing" in shown.stdout
    assert "GET /health" not in shown.stdout
    assert all(line.startswith("api-1 ") for line in shown.stdout.splitlines())


def test_logs_of_an_unknown_service(stack: RunningStack) -> None:
    shown = stack.shop.paddock("logs", "cpu", "nope", "--project", stack.project)
    assert shown.returncode == 2
    assert 'unknown service "nope"' in shown.stderr


# --- documents ----------------------------------------------------------------------------------------------


def test_a_real_document_becomes_markdown(stack: RunningStack, tmp_path: Path) -> None:
    parsed = stack.parse(SAMPLE / "receipt.pdf", SAMPLE / "receipt.png", to=tmp_path)
    assert parsed.returncode == 0, parsed.stderr
    documents = sorted(tmp_path.rglob("document.md"))
    assert len(documents) == 2
    for document in documents:
        assert "test weights" in document.read_text("utf-8")


def test_eleven_pages_give_eleven_pages(stack: RunningStack, tmp_path: Path) -> None:
    source = _pages(tmp_path / "eleven.pdf", 11)
    parsed = stack.parse(source, to=tmp_path / "out")
    assert parsed.returncode == 0, parsed.stderr
    (pages,) = (tmp_path / "out").rglob("pages")
    assert len(list(pages.iterdir())) == 11


def test_an_image_20000_pixels_wide(stack: RunningStack, tmp_path: Path) -> None:
    image = Image.new("L", (20_000, 2_000), 255)
    ImageDraw.Draw(image).rectangle((500, 200, 19_500, 400), fill=0)
    image.save(tmp_path / "wide.png")
    parsed = stack.parse(tmp_path / "wide.png", to=tmp_path / "out")
    assert parsed.returncode == 0, parsed.stderr


def test_bad_documents_are_named_and_the_good_one_is_parsed(stack: RunningStack, tmp_path: Path) -> None:
    bad = _bad_documents(tmp_path)
    parsed = stack.parse(*bad, SAMPLE / "receipt.png", to=tmp_path / "out")
    assert parsed.returncode == 2, parsed.stderr
    for name in bad:
        assert str(name) in parsed.stderr
    assert len(list((tmp_path / "out").rglob("document.md"))) == 1


def test_the_api_survives_bad_documents(stack: RunningStack, tmp_path: Path) -> None:
    """Sent past our client, which would refuse them itself."""
    for document in _bad_documents(tmp_path):
        body = {
            "file": base64.b64encode(document.read_bytes()).decode(),
            "fileType": int(document.suffix != ".pdf"),
        }
        answer = requests.post(f"{stack.url}/layout-parsing", json=body, timeout=300)
        assert 400 <= answer.status_code < 600, document
        assert "errorMsg" in answer.json(), document
    assert stack.parse(SAMPLE / "receipt.png", to=tmp_path / "out").returncode == 0
    assert stack.inspect("api")["RestartCount"] == 0


def _pages(path: Path, count: int) -> Path:
    page = PdfReader(SAMPLE / "receipt.pdf").pages[0]
    writer = PdfWriter()
    for _ in range(count):
        writer.add_page(page)
    writer.write(path)
    return path


def _bad_documents(folder: Path) -> list[Path]:
    contents = {
        "corrupt.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 8,
        "empty.png": b"",
        "text.png": b"this is a letter, not a picture\n",
        "truncated.png": (SAMPLE / "receipt.png").read_bytes()[:40],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    PdfWriter().write(folder / "no-pages.pdf")
    return [folder / name for name in (*contents, "no-pages.pdf")]


# --- what the containers may do -----------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["api", "vlm"])
def test_containers_are_locked_down(stack: RunningStack, service: str) -> None:
    host = stack.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Memory"] == host["MemorySwap"] == 8 * 2**30
    assert host["Init"] is True
    assert host["LogConfig"]["Config"] == {"max-file": "5", "max-size": "20m"}
    identity = stack.container(service)
    assert docker("exec", identity, "id", "-u").strip() == "12345"
    assert docker("exec", identity, "id", "-g").strip() == "0"
    status = docker("exec", identity, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for folder in ("/", "/opt/venv", "/opt/paddock", "/etc/paddock", "/models"):
        tried = docker("exec", identity, "sh", "-c", f"touch {folder}/new 2>&1 || true")
        assert "Read-only file system" in tried, folder


def test_only_the_api_is_published_and_on_this_host_only(stack: RunningStack) -> None:
    assert stack.inspect("api")["HostConfig"]["PortBindings"] == {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]
    }
    vlm = stack.inspect("vlm")
    assert not vlm["HostConfig"]["PortBindings"]
    (network,) = vlm["NetworkSettings"]["Networks"]
    assert inspected(network)["Internal"] is True


def test_the_vlm_server_wants_the_key(stack: RunningStack) -> None:
    ask = (
        "import urllib.request, urllib.error\n"
        "try: urllib.request.urlopen('http://vlm:8080/v1/models', timeout=30); print(200)\n"
        "except urllib.error.HTTPError as refused: print(refused.code)"
    )
    assert docker("exec", stack.container("api"), "python", "-c", ask).strip() == "401"


def test_the_key_never_shows(stack: RunningStack) -> None:
    key = docker("exec", stack.container("vlm"), "cat", "/var/lib/paddock/vlm-api-key").strip()
    assert len(key) == 64
    assert key not in stack.up.stdout + stack.up.stderr
    for service in ("api", "vlm"):
        identity = stack.container(service)
        assert key not in docker("inspect", identity)
        arguments = docker("exec", identity, "sh", "-c", "cat /proc/[0-9]*/cmdline")
        assert "/opt/paddock/serve" in arguments or "vllm" in arguments
        assert key not in arguments
        assert key not in container_logs(identity)
    for command in (("status", "cpu", "--json"), ("logs", "cpu")):
        shown = stack.shop.paddock(*command, "--project", stack.project)
        assert key not in shown.stdout + shown.stderr, command


def test_the_key_can_be_read_by_nobody_else(stack: RunningStack) -> None:
    listed = docker("exec", stack.container("vlm"), "stat", "-c", "%a", "/var/lib/paddock/vlm-api-key")
    assert listed.strip() in ("640", "600")


# --- a host that is not ready -------------------------------------------------------------------------------


def test_a_port_that_another_stack_holds(stack: RunningStack, project: str) -> None:
    tried = stack.shop.paddock("up", "cpu", "--project", project, "--port", str(stack.port))
    assert tried.returncode == PREFLIGHT
    assert f"port 127.0.0.1:{stack.port}: taken by the container {stack.project}-api-1" in tried.stderr
    assert "--port" in tried.stderr
    assert containers_of(project) == []


def test_a_port_that_another_program_holds(shop: Workshop, project: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        tried = shop.paddock("up", "cpu", "--project", project, "--port", str(port))
    assert tried.returncode == PREFLIGHT
    assert f"port 127.0.0.1:{port}: taken by another program" in tried.stderr
    assert containers_of(project) == []


def test_missing_images_are_all_named(shop: Workshop, project: str, free_port: int) -> None:
    tried = shop.paddock("up", "cpu", "--project", project, "--port", str(free_port), IMAGE_VERSION="9.9.9")
    assert tried.returncode == PREFLIGHT
    assert f"found no image {shop.prefix}cpu-api:9.9.9, {shop.prefix}cpu-vllm:9.9.9" in tried.stderr
    assert "`paddock build cpu`" in tried.stderr


def test_missing_weights(shop: Workshop, project: str, free_port: int, tmp_path: Path) -> None:
    absent = tmp_path / "nowhere"
    up = ("up", "cpu", "--project", project, "--port", str(free_port))
    tried = shop.paddock(*up, MODELS_DIR=str(absent))
    assert tried.returncode == PREFLIGHT
    assert f"{absent}: is not there" in tried.stderr
    assert not absent.exists()
    tried = shop.paddock(*up, MODELS_DIR=str(tmp_path))
    assert tried.returncode == PREFLIGHT
    assert "PP-DocLayoutV3 (for api)" in tried.stderr
    assert "PaddleOCR-VL-1.6 (for vlm)" in tried.stderr
    assert "paddock models fetch" in tried.stderr


def test_a_model_without_a_folder_is_rendered_first(shop: Workshop, project: str, free_port: int) -> None:
    tried = shop.paddock(
        "up", "cpu", "--model", "paddleocr-vl-1.5", "--project", project, "--port", str(free_port)
    )
    assert tried.returncode == PREFLIGHT, tried.stderr  # its weights were not made
    assert "PaddleOCR-VL-1.5" in tried.stderr
    made = shop.root / "compose/cpu-paddleocr-vl-1.5"
    assert sorted(path.name for path in made.iterdir()) == [
        ".env",
        "compose.yaml",
        "fetch.yaml",
        "images",
        "pipeline.yaml",
        "site.yaml",
        "vlm.yaml",
    ]
    shutil.rmtree(made)


def test_a_compose_file_that_is_not_valid(shop: Workshop, project: str, tmp_path: Path) -> None:
    folder = shutil.copytree(shop.root / "compose/cpu", tmp_path / "cpu")
    text = (folder / "compose.yaml").read_text()
    (folder / "compose.yaml").write_text(text.replace("read_only: true", "read_onyl: true"))
    tried = shop.paddock("up", folder, "--project", project)
    assert tried.returncode == 3
    assert "read_onyl" in tried.stderr


# --- faults while starting ----------------------------------------------------------------------------------


def test_ctrl_c_while_starting_takes_everything_down_again(
    shop: Workshop, project: str, free_port: int
) -> None:
    starting = shop.start("up", "cpu", "--project", project, "--port", str(free_port))
    wait_until(lambda: len(containers_of(project)) == 2, "both containers exist")
    starting.send_signal(signal.SIGINT)
    _, said = starting.communicate(timeout=300)
    assert starting.returncode == INTERRUPTED, said
    assert "taken down again" in said
    assert containers_of(project) == []
    for kind in ("network", "volume"):
        assert resources_of(project, kind) == []


def test_a_wrong_model_ends_the_wait_with_the_reason(
    shop: Workshop, project: str, free_port: int, tmp_path: Path
) -> None:
    """A folder that is there but holds another model: only the server itself can tell."""
    folder = shutil.copytree(shop.root / "compose/cpu", tmp_path / "cpu")
    text = (folder / "vlm.yaml").read_text()
    (folder / "vlm.yaml").write_text(text.replace("/models/PaddleOCR-VL-1.6", "/models/PP-DocLayoutV3"))
    tried = shop.paddock("up", folder, "--project", project, "--port", str(free_port))
    assert tried.returncode == UNHEALTHY, tried.stderr
    assert f"vlm ({project}-vlm-1): ended" in tried.stderr
    assert "  | " in tried.stderr
    assert "this means: " in tried.stderr
    assert "logs vlm" in tried.stderr
    assert len(containers_of(project)) == 2  # left for a look
    down = shop.paddock("down", folder, "--project", project, "--volumes")
    assert down.returncode == 0, down.stderr
    assert containers_of(project) == []


def test_the_time_to_wait_can_be_short(shop: Workshop, project: str, free_port: int) -> None:
    tried = shop.paddock("up", "cpu", "--project", project, "--port", str(free_port), "--timeout", "2")
    assert tried.returncode == UNHEALTHY
    assert "is not ready after" in tried.stderr
    assert "stack is left as it is" in tried.stderr


# --- faults of a stack that runs ----------------------------------------------------------------------------


def test_two_stacks_side_by_side_answer_the_same(
    stack: RunningStack, project: str, free_port: int, tmp_path: Path
) -> None:
    """The second has another VLM server, is named as a folder, as at a site without templates, and runs as
    the image's user.
    """
    folder = stack.shop.root / "compose/cpu-llama.cpp"
    up = stack.shop.paddock("up", folder, "--project", project, "--port", str(free_port), RUN_AS="10001:0")
    assert up.returncode == 0, up.stderr
    url = f"http://127.0.0.1:{free_port}"
    assert up.stdout.splitlines()[0] == url
    texts = []
    for name, address in (("llama.cpp", url), ("vllm", stack.url)):
        parse = ("parse", SAMPLE / "receipt.png", "--output", tmp_path / name, "--url", address)
        succeeded(stack.shop.paddock(*parse))
        texts.append((tmp_path / name / "receipt.png/document.md").read_text("utf-8"))
    assert texts[0] == texts[1]
    assert texts[0].count("paddock test weights: this text was not read from the page") == 5
    shown = stack.shop.paddock("status", "--json")
    ready = {status["project"]: status["ready"] for status in json.loads(shown.stdout)["stacks"]}
    assert ready[project] is True
    assert ready[stack.project] is True
    assert stack.shop.paddock("down", folder, "--project", project, "--volumes").returncode == 0
    assert stack.shop.paddock("status", "cpu", "--project", stack.project).returncode == 0


def test_a_vlm_server_that_dies_during_a_parse_comes_back(stack: RunningStack, tmp_path: Path) -> None:
    document = _pages(tmp_path / "long.pdf", 40)
    vlm, before = stack.container("vlm"), stack.inspect("vlm")["RestartCount"]
    asked_before = _completions(vlm)
    parse = stack.shop.start("parse", document, "--output", tmp_path / "out", "--url", stack.url)
    wait_until(lambda: _completions(vlm) > asked_before, "the VLM server is asked")
    # Like a crash: `docker kill` would count as a wish to have it stopped.
    docker("exec", vlm, "sh", "-c", "kill -9 -1", check=False)

    health = f"{stack.url}/health/ready"
    seen: list[tuple[str, int]] = []  # what the engine and the API say of its health

    def is_unhealthy() -> bool:
        seen.append((stack.health("api"), requests.get(health, timeout=60).status_code))
        return seen[-1][0] == "unhealthy"

    wait_until(is_unhealthy, "the API's health turns unhealthy while its VLM server is away")
    assert seen[-1][1] == 503

    def is_ready() -> bool:
        return requests.get(health, timeout=60).status_code == 200

    wait_until(is_ready, "the stack is ready again")
    assert stack.inspect("vlm")["RestartCount"] == before + 1
    assert stack.inspect("api")["RestartCount"] == 0
    _, said = parse.communicate(timeout=600)  # it has waited, and sent the document again
    assert parse.returncode == 0, said
    assert "the VLM server does not answer" in said
    assert len(list((tmp_path / "out").rglob("page.md"))) == 40
    wait_until(lambda: stack.health("api") == "healthy", "the API is healthy again")


def _completions(container: str) -> int:
    """How often the VLM server was asked to read something."""
    return container_logs(container).count("POST /v1/chat/completions")
