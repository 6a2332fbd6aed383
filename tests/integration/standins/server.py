"""Stands where a VLM server would: answers /health and /v1/models like one, after it has read the options
that it got.

It computes nothing. It proves that our images start the right command, as the right user, with a key, and
that their health check finds the model. Any option without a value is refused when the file says so; nothing
else is checked here.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def options(arguments: list[str]) -> dict[str, str]:
    """`--name value` pairs and flags; those of the file named by --config (flat YAML) go before."""
    found: dict[str, str] = {}
    for position, word in enumerate(arguments):
        if word.startswith("--"):
            following = arguments[position + 1] if position + 1 < len(arguments) else "--"
            found[word[2:]] = "" if following.startswith("--") else following
    if "config" in found:
        for line in Path(found["config"]).read_text("utf-8").splitlines():
            name, colon, value = line.partition(": ")
            if colon and not name.startswith(("#", " ")):
                plain = value.split(" #")[0].strip()
                found.setdefault(name, json.loads(plain) if plain.startswith('"') else plain)
    return found


def serve(key: str) -> None:
    """Answer at the port and under the name of the options until the container stops; says what it was given
    first.
    """
    given = options(sys.argv[1:])
    said = {
        "argv": sys.argv[1:],
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "options": given,
    }
    said["environment"] = {name: value for name, value in os.environ.items() if "KEY" not in name}
    print(json.dumps(said), flush=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = not key or self.headers["Authorization"] == f"Bearer {key}"
            status = 200 if self.path == "/health" else 200 if self.path == "/v1/models" and allowed else 401
            body = json.dumps({"data": [{"id": given["served-model-name"]}]}, separators=(",", ":")).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if status == 200 and self.path == "/v1/models" else b"")

        def log_message(self, *_arguments: object) -> None:
            pass

    ThreadingHTTPServer((given["host"], int(given["port"])), Handler).serve_forever()
