"""The network of a stack's port: clients reach it, and no connection leads from a container beyond the host.

The committed stack runs in an engine of its own, with a program that only waits in place of both servers.
Beyond that engine's host lies a second network, the world, whose one machine writes down what reaches it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import programs
from paddock import __version__
from programs import succeeded, wait_until
from repository import REPOSITORY
from site_engine import SiteEngine, site_engine
from small_images import WAITS, SmallImage, plain, program, tar

pytestmark = [pytest.mark.needs("ip", "nsenter", "unshare")]

STACK = "cpu"
PROJECT = f"paddock-{STACK}"
HOST, WORLD = "203.0.113.1", "203.0.113.2"  # the engine's host and the machine in the world (RFC 5737)
PORT = 8080  # of the API, in its container and on the host
LISTENING = 8000  # TCP ports of the machine in the world, and of the host
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"
# Prints how the engine's name server answers: the code of the answer, and how many addresses it holds.
ASK = """
import socket, sys
name = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[1].split("."))
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(30)
query = bytes.fromhex("abcd01000001000000000000") + name + bytes.fromhex("0000010001")
asked.sendto(query, ("127.0.0.11", 53))
answer = asked.recv(512)
print(answer[3] & 15, answer[7])
"""
SEND = """
import socket, sys
socket.socket(type=socket.SOCK_DGRAM).sendto(b"sent", (sys.argv[1], int(sys.argv[2])))
"""
# Writes a line for each connection and each datagram: its kind and where it comes from.
LISTEN = """
import select, socket, sys
stream = socket.create_server(("", int(sys.argv[2])))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 53))
with open(sys.argv[1], "a", buffering=1) as log:
    print("ready", file=log)
    while True:
        for ready in select.select([stream, datagrams], [], [])[0]:
            peer = ready.accept()[1] if ready is stream else ready.recvfrom(512)[1]
            print("connection" if ready is stream else "datagram", peer[0], file=log)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """An engine's host with the stack on it, and what it borders on."""

    engine: SiteEngine
    stack: Path
    world: Path  # the world's network, for `nsenter --net`
    log: Path  # what reached the machine in the world

    def up(self, **settings: str) -> None:
        """Start the stack, or take it over into these settings."""
        models = self.stack.parent / "models"
        environment = {
            **self.engine.environment(),
            "MODELS_DIR": str(models),
            "API_BIND": "0.0.0.0",
            **settings,
        }
        compose = ("docker", "compose", "up", "--detach")
        succeeded(programs.run(*compose, cwd=self.stack, environment=environment))

    def inspected(self, service: str) -> Any:
        """What the engine says of the container of a service."""
        label = f"label=com.docker.compose.service={service}"
        (container,) = self.engine.docker("ps", "--quiet", f"--filter={label}").split()
        return json.loads(self.engine.docker("inspect", container))[0]

    def inside(self, service: str, *argv: str) -> list[str]:
        """A command of this machine, with the network of a container."""
        process = self.process(service)
        return [*self._mounts, "nsenter", f"--net={process}/ns/net", *argv]

    def gateway(self, network: str) -> str:
        """The address that is the host's in a network of the stack, where the host has one there."""
        subnet = "{{(index .IPAM.Config 0).Subnet}}"
        found = self.engine.docker("network", "inspect", "--format", subnet, f"{PROJECT}_{network}")
        return str(ipaddress.ip_network(found.strip())[1])

    def process(self, service: str) -> Path:
        """The container's first process, in /proc as the engine sees it."""
        return Path(f"/proc/{self.inspected(service)['State']['Pid']}")

    def read(self, path: Path) -> str:
        """A file as the engine sees it."""
        return succeeded(programs.run(*self._mounts, "cat", path))

    def mount(self, file: Path, at: str) -> None:
        """Have the engine, and nobody else, see another file there."""
        succeeded(programs.run(*self._mounts, "mount", "--bind", file, at))

    @property
    def _mounts(self) -> Sequence[str]:
        return ("nsenter", f"--mount={self.engine.network.parent / 'mnt'}")

    def reached(self) -> list[str]:
        """What reached the machine in the world, one line each."""
        return self.log.read_text("utf-8").splitlines()[1:]


def connects(argv: Sequence[str], address: str, port: int) -> bool:
    """Whether the network that a command runs in (as its first words say) leads there."""
    return programs.run(*argv, sys.executable, "-c", CONNECT, address, str(port)).returncode == 0


@contextmanager
def serving(prefix: Sequence[str], port: int) -> Iterator[None]:
    """A server on all addresses of the network that a command runs in (as its first words say)."""
    with running(*prefix, sys.executable, "-m", "http.server", str(port)):
        wait_until(lambda: connects(prefix, "127.0.0.1", port), "a server", limit=60)
        yield


@contextmanager
def running(*argv: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = programs.start(*argv)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(REPOSITORY / "compose" / STACK, folder / STACK)
    (folder / "models").mkdir()
    waiting = plain(tar({"bin/true": program(WAITS)}))
    images = [
        SmallImage(reference=f"paddock/cpu-{name}:{__version__}", layers=(waiting,))
        for name in ("api", "vllm")
    ]
    with (
        site_engine("classic", in_memory=True) as engine,
        running("unshare", "--net", "sleep", "inf") as other,
    ):
        world, own = Path(f"/proc/{other.pid}/ns/net"), Path("/proc/self/ns/net").readlink()
        wait_until(lambda: world.readlink() != own, "a network for the world", limit=30)
        engine.load(images)
        connect_networks(engine, other.pid)
        log = folder / "reached"
        listen = (sys.executable, "-c", LISTEN, str(log), str(LISTENING))
        made = Host(engine=engine, stack=folder / STACK, world=world, log=log)
        (folder / "resolv.conf").write_text(f"nameserver {WORLD}\n")
        made.mount(folder / "resolv.conf", "/etc/resolv.conf")
        with running("nsenter", f"--net={world}", *listen):
            wait_until(lambda: log.exists() and "ready" in log.read_text("utf-8"), "a listener", limit=30)
            yield made


def connect_networks(engine: SiteEngine, world: int) -> None:
    """A cable between the engine's host and the network of the process `world`, which has no other way."""
    in_world = ("nsenter", f"--net=/proc/{world}/ns/net")
    for argv in (
        engine.enter(
            "ip", "link", "add", "world", "type", "veth", "peer", "name", "host", "netns", str(world)
        ),
        engine.enter("ip", "address", "add", f"{HOST}/24", "dev", "world"),
        engine.enter("ip", "link", "set", "world", "up"),
        [*in_world, "ip", "address", "add", f"{WORLD}/24", "dev", "host"],
        # else it drops what comes from an address that it has no way to
        [
            *in_world,
            "sh",
            "-c",
            "for each in all host; do echo 0 > /proc/sys/net/ipv4/conf/$each/rp_filter; done",
        ],
        [*in_world, "ip", "link", "set", "host", "up"],
    ):
        succeeded(programs.run(*argv))


@pytest.fixture
def closed(host: Host) -> Host:
    """The stack with the settings that it is rendered with."""
    host.up()
    return host


def test_clients_on_the_host_and_beyond_reach_the_port(closed: Host) -> None:
    with serving(closed.inside("api"), PORT):
        assert connects(closed.engine.enter(), "127.0.0.1", PORT)
        assert connects(["nsenter", f"--net={closed.world}"], HOST, PORT)


def test_no_connection_leads_beyond_the_host(closed: Host) -> None:
    before = closed.reached()
    assert connects(closed.engine.enter(), WORLD, LISTENING), "the host itself has a way"
    wait_until(lambda: closed.reached() != before, "the connection of the host", limit=30)
    for service in ("api", "vlm"):
        assert not connects(closed.inside(service), WORLD, LISTENING), service
    assert closed.reached() == [*before, f"connection {HOST}"]


def test_no_name_but_the_neighbours_is_looked_up(closed: Host) -> None:
    def asked(service: str, name: str) -> str:
        return succeeded(programs.run(*closed.inside(service, sys.executable, "-c", ASK, name))).strip()

    before = closed.reached()
    assert asked("api", "vlm") == "0 1"
    for service in ("api", "vlm"):
        assert asked(service, "secret.example") in {"2 0", "5 0"}, service  # SERVFAIL or REFUSED
    assert closed.reached() == before


def test_the_vlm_server_reaches_no_port_of_the_host(closed: Host) -> None:
    with serving(closed.engine.enter(), LISTENING):
        for address in (HOST, closed.gateway("inside")):
            assert not connects(closed.inside("vlm"), address, LISTENING), address


def test_a_way_out_is_there_for_whoever_asks_for_it(host: Host) -> None:
    before = host.reached()
    host.up(API_NETWORK="outbound", API_DNS=WORLD)
    assert connects(host.inside("api"), WORLD, LISTENING)
    with running(*host.inside("api", sys.executable, "-c", ASK, "files.example")):
        looked_up = f"datagram {HOST}"
        wait_until(lambda: looked_up in host.reached()[len(before) :], "the look-up of a name", limit=30)
    assert not connects(host.inside("vlm"), WORLD, LISTENING)


def test_each_container_gets_its_limits(host: Host) -> None:
    host.up(API_PIDS="300", API_CPUS="1.5", VLM_PIDS="400", OPEN_FILES="5000")
    api, vlm = (host.inspected(name)["HostConfig"] for name in ("api", "vlm"))
    assert (api["PidsLimit"], api["NanoCpus"]) == (300, 1_500_000_000)
    assert (vlm["PidsLimit"], vlm["NanoCpus"]) == (400, 0)
    for service in ("api", "vlm"):
        limits = host.read(host.process(service) / "limits").splitlines()
        held = {line[:26].strip(): line[26:].split()[:2] for line in limits}
        assert held["Max open files"] == ["5000", "5000"], service
        assert held["Max core file size"] == ["0", "0"], service


def test_keys_that_are_replaced_are_seen_without_a_restart(host: Host) -> None:
    host.up()
    assert "API_KEYS=" in host.inspected("api")["Config"]["Env"]
    folder = host.stack.parent / "api-keys"
    folder.mkdir()
    (folder / "keys").write_text("first")
    host.up(API_KEYS_DIR=str(folder))
    assert f"API_KEYS={folder}" in host.inspected("api")["Config"]["Env"]
    keys = host.process("api") / "root/etc/paddock/api-keys/keys"
    assert host.read(keys) == "first"
    (folder / "new").write_text("second")
    (folder / "new").rename(folder / "keys")
    assert host.read(keys) == "second"


def test_what_the_network_of_the_port_leaves_open_a_firewall_closes(closed: Host) -> None:
    """Both as docs/reference/configuration.md says: ports of the host, and datagrams that want no answer."""
    send = closed.inside("api", sys.executable, "-c", SEND, WORLD, "53")
    before = closed.reached()
    with serving(closed.engine.enter(), LISTENING):
        assert connects(closed.inside("api"), HOST, LISTENING)
        assert connects(closed.inside("api"), closed.gateway("outside"), LISTENING)
        succeeded(programs.run(*send))
        wait_until(lambda: closed.reached() != before, "a datagram", limit=30)
        (datagram,) = closed.reached()[len(before) :]
        assert datagram.startswith("datagram 172.")  # an address that nobody there can answer
        firewall = closed.engine.enter("sh", "-ec", documented_firewall())
        succeeded(programs.run(*firewall, environment=closed.engine.environment()))
        assert not connects(closed.inside("api"), HOST, LISTENING)
        assert not connects(closed.inside("api"), closed.gateway("outside"), LISTENING)
    before = closed.reached()
    programs.run(*send)
    with serving(closed.inside("api"), PORT):
        assert connects(["nsenter", f"--net={closed.world}"], HOST, PORT), "the port stays published"
    assert closed.reached() == before


def documented_firewall() -> str:
    """The commands that docs/reference/configuration.md shows for the host's firewall."""
    text = (REPOSITORY / "docs/reference/configuration.md").read_text("utf-8")
    (script,) = re.findall(r"^```sh\n(bridge=.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(script)
