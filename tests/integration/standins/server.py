"""Stands in for a VLM server: reads the options that it got, then answers /health and /v1/models like one.

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
    given: dict[str, str] = {}
    for position, word in enumerate(arguments):
        if word.startswith("--"):
            following = arguments[position + 1] if position + 1 < len(arguments) else "--"
            given[word[2:]] = "" if following.startswith("--") else following
    if "config" in given:
        for line in Path(given["config"]).read_text("utf-8").splitlines():
            name, colon, value = line.partition(": ")
            if colon and not name.startswith(("#", " ")):
                plain = value.split(" #")[0].strip()
                given.setdefault(name, json.loads(plain) if plain.startswith('"') else plain)
    return given


def serve(key: str) -> None:
    """Print what it was given, then answer at the port and under the name of the options."""
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
            models = {"data": [{"id": given["served-model-name"]}]}
            lists_models = self.path == "/v1/models" and allowed
            self.send_response(200 if lists_models or self.path == "/health" else 401)
            self.end_headers()
            self.wfile.write(json.dumps(models, separators=(",", ":")).encode() if lists_models else b"")

        def log_message(self, *_arguments: object) -> None:
            pass

    ThreadingHTTPServer((given["host"], int(given["port"])), Handler).serve_forever()
