"""Stands in for a worker of a site, or for its VLM server: all of the real programs but PaddleX.

usage: worker.py api | vlm
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/api")

import door
import server
from limits import Limits
from metrics import Metrics
from recycling import Recycling, Server
from turns import Request

KEY = Path("/var/lib/paddock/vlm-api-key")


async def ready() -> tuple[bool, dict[str, Any]]:
    return True, {"ready": True, "model": "stand-in", "reason": ""}


async def work(request: Request, body: bytes) -> list[bytes]:
    """Sleep as long as is asked for, and say who did."""
    await asyncio.sleep(json.loads(body).get("sleep", 0))
    request.pages = 1
    return [json.dumps({"worker": socket.gethostname()}).encode()]


def serve_worker() -> None:
    worker = Recycling.read()
    counts = Metrics(worker)
    operations = {"/layout-parsing": work, "/restructure-pages": work}
    app = door.Door(
        Limits(),
        hosts=(),
        keys=None,
        operations=counts.counting(operations),
        readiness=worker.over(ready),
        description=b"{}",
    )
    served = counts.around(app, operations, published=False)
    asyncio.run(server.serve(served, serving=lambda config: Server(config, worker, ready)))
    os._exit(0)


def serve_vlm() -> None:
    os.umask(0o027)
    KEY.write_text("the VLM server's own key")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        known = scope["path"] == "/health" or given == f"Bearer {KEY.read_text()}"
        body = json.dumps({"path": scope["path"]}).encode()
        await door.answer(send, 200 if known else 401, [body])

    asyncio.run(server.serve(app))


if __name__ == "__main__":
    {"api": serve_worker, "vlm": serve_vlm}[sys.argv[1]]()
