"""Starts HAProxy and keeps what it needs to know current: keys, the VLM server's own key, and the certificate.

None of it takes a restart or a reload: the files are looked at every half second, and what changed is told to HAProxy
through its stats socket.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType

import certificates
import keyfile
import maps
from certificates import Certificate, Unusable

KEYS = Path("/etc/paddock/api-keys/keys")
UPSTREAM_KEY = Path("/var/lib/paddock/vlm-api-key")
CONFIGURATION = "/opt/paddock/haproxy.cfg"
LOOK_EVERY = 0.5  # seconds
CERTIFICATE_EVERY = 60.0  # seconds
SAY_AGAIN_AFTER = 86400.0  # seconds between two warnings about the same certificate
GRACE = 30  # seconds that the door waits longer than a worker, whose own answer says more
BODY_SECONDS = 600  # for a whole body, waiting in the queue left out
LOOPBACK = ("127.", "localhost", "::1", "[::1]")
NUMBERS = {  # variable of the stack -> what haproxy.cfg calls it, and its default
    "API_PARALLEL_REQUESTS": ("WORKER_SLOTS", 8),
    "DRAIN_SECONDS": ("DRAIN_SECONDS", 600),
    "DOOR_QUEUE": ("QUEUE_MOST", 32),
    "DOOR_QUEUE_SECONDS": ("QUEUE_SECONDS", 120),
    "DOOR_KEY_AT_ONCE": ("KEY_AT_ONCE", 16),
    "DOOR_KEY_PER_MINUTE": ("KEY_PER_MINUTE", 600),
    "DOOR_KEY_MIB_PER_HOUR": ("KEY_MIB_PER_HOUR", 10240),
}


def say(line: str) -> None:
    """One line for the container's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def number(name: str, default: int) -> int:
    """The whole number above 0 that an environment variable holds; `default` where it is unset or empty."""
    text = os.environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and int(text)):
        sys.exit(f"{name}={text}: found no whole number above 0, such as {default}")
    return int(text)


def uses_tls() -> bool:
    """Whether DOOR_TLS is on. Exits where it is off and the port is published beyond this host."""
    wanted, bind = os.environ.get("DOOR_TLS") or "on", os.environ.get("API_BIND") or "127.0.0.1"
    if wanted not in ("on", "off"):
        sys.exit(f"DOOR_TLS={wanted}: expected on or off")
    if wanted == "off" and not bind.startswith(LOOPBACK):
        sys.exit(f"DOOR_TLS=off: found API_BIND={bind}, expected 127.0.0.1: keys must not cross a network in the clear")
    return wanted == "on"


def names() -> tuple[str, ...]:
    """What a certificate of our own is for, beside localhost: DOOR_NAMES, separated by commas or blanks."""
    return tuple(os.environ.get("DOOR_NAMES", "").lower().replace(",", " ").split())


def current_certificate() -> Certificate:
    """The certificate to use. Exits with what is wrong with the site's."""
    try:
        return certificates.chosen(site=bool(os.environ.get("DOOR_TLS_DIR")), names=names())
    except Unusable as wrong:
        sys.exit(f"DOOR_TLS_DIR={os.environ.get('DOOR_TLS_DIR', '')}: {wrong}")


def variables(certificate: Certificate | None) -> dict[str, str]:
    """The environment of HAProxy: every name that haproxy.cfg and body.lua ask for."""
    numbers = {called: number(name, default) for name, (called, default) in NUMBERS.items()}
    numbers["QUEUE_BUSY"] = max(numbers["QUEUE_MOST"] * 3 // 4, 1)
    numbers["ANSWER_SECONDS"] = number("API_MAX_SECONDS", 3600) + GRACE
    numbers["BODY_BYTES"] = number("API_MAX_BYTES", 100_000_000) * 4 // 3 + 2_000_000  # as limits.py of the API has it
    numbers["BODY_SECONDS"] = BODY_SECONDS
    return {
        **{name: str(value) for name, value in numbers.items()},
        "PATH": os.environ["PATH"],
        "DOOR_TLS": "on" if certificate else "off",
        "CERTIFICATE": str(certificate.path) if certificate else "",
        "DOOR_JOBS": os.environ.get("DOOR_JOBS", ""),
        "VLM_HEALTH": os.environ["VLM_HEALTH"],
        "VLM_PORT": os.environ["VLM_PORT"],
    }


class Door:
    """A running HAProxy, and what it was told."""

    def __init__(self) -> None:
        self._certificate = current_certificate() if uses_tls() else None
        self._keys: list[keyfile.Key] = []
        self._seen: object = None
        self._told = self._wanted()
        self._stamp = self._certificate_stamp()
        self._looked = self._warned = time.monotonic() - SAY_AGAIN_AFTER
        if self._certificate:
            self._say_certificate(self._certificate)
        maps.write(self._told)
        self._process = subprocess.Popen(["haproxy", "-db", "-f", CONFIGURATION], env=variables(self._certificate))

    def run(self) -> int:
        """Keep HAProxy current until it ends; its exit status."""
        for caught in (signal.SIGTERM, signal.SIGINT):
            signal.signal(caught, self._drain)
        while True:
            try:
                return self._process.wait(LOOK_EVERY)
            except subprocess.TimeoutExpired:
                self._look()

    def _drain(self, _signal: int, _frame: FrameType | None) -> None:
        """Have HAProxy take nothing new and finish what it has: SIGTERM itself would cut every request."""
        self._process.send_signal(signal.SIGUSR1)

    def _look(self) -> None:
        wanted = self._wanted()
        try:
            if wanted != self._told:
                maps.write(wanted)
                maps.send(wanted)
                self._told = wanted
            if self._certificate and time.monotonic() - self._looked >= CERTIFICATE_EVERY:
                self._looked = time.monotonic()
                self._look_at_certificate(self._certificate)
        except (OSError, maps.Refused) as failure:
            say(f"door: HAProxy was not told what changed, and will be: {failure}")

    def _wanted(self) -> maps.Maps:
        """The maps as the files have them now. A file of keys that cannot be read lets nobody in."""
        try:
            status = KEYS.stat()
            seen: object = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._keys = keyfile.read(KEYS, say=say)
                listed = ", ".join(sorted(key.name for key in self._keys))
                say(f"keys: {listed or 'none, so nobody may ask'}")
        except (OSError, ValueError) as wrong:
            seen, self._keys = str(wrong), []
            if seen != self._seen:
                say(f"keys: {KEYS} cannot be read ({wrong}), so nobody may ask")
        self._seen = seen
        return maps.of(self._keys, UPSTREAM_KEY.read_text("ascii").strip() if UPSTREAM_KEY.is_file() else "")

    def _look_at_certificate(self, used: Certificate) -> None:
        """Take a new certificate of the site's, or renew our own; say once a day that one of the site's ends soon."""
        soon = certificates.ends_soon(used)
        if self._certificate_stamp() != self._stamp or (soon and used.path == certificates.OWN):
            self._stamp = self._certificate_stamp()
            try:
                found = certificates.chosen(site=used.path == certificates.SITE, names=names())
            except Unusable as wrong:
                say(f"door: the new certificate is not taken, the old one stays: {wrong}")
                return
            maps.ask(f"set ssl cert {found.path} <<\n{found.path.read_text('ascii').strip()}\n")
            committed = maps.ask(f"commit ssl cert {found.path}")
            if "Success" not in committed:
                raise maps.Refused(committed.strip())
            self._certificate, self._stamp = found, self._certificate_stamp()
            self._say_certificate(found)
        elif soon and time.monotonic() - self._warned >= SAY_AGAIN_AFTER:
            self._warned = time.monotonic()
            say(f"door: the certificate ends on {used.ends}: put the next one into DOOR_TLS_DIR, nothing is restarted")

    def _certificate_stamp(self) -> object:
        if self._certificate is None or not self._certificate.path.is_file():
            return None
        status = self._certificate.path.stat()
        return (status.st_mtime_ns, status.st_ino)

    @staticmethod
    def _say_certificate(used: Certificate) -> None:
        whose = "signed by the door itself" if used.path == certificates.OWN else "of the site"
        say(f"door: certificate {whose}, until {used.ends}, SHA-256 {used.fingerprint}")


def require_life() -> None:
    """The health check: exit unless HAProxy answers."""
    try:
        urllib.request.urlopen("http://127.0.0.1:8405/live", timeout=5)
    except OSError as failure:
        sys.exit(f"the door does not answer: {failure}")


if __name__ == "__main__":
    if sys.argv[1:] == ["alive"]:
        require_life()
    else:
        sys.exit(Door().run())
