"""A real HTTP server in place of the sources of weights, with small sets to serve and faults on request."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import ssl
import struct
import tarfile
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from paddock.matrix.records import WeightSet, WeightsRole
from paddock.weights.sources import Endpoints

MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
REVISION = "0123456789abcdef0123456789abcdef01234567"
STALL_ENDS_AFTER = 60  # seconds; a test ends a stall itself, this only frees the thread


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the server does wrong with one request."""

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)  # None takes a header away
    body: bytes | None = None
    cut_after: int | None = None  # bytes of the body, then the connection closes
    reset: bool = False  # ... with a reset instead
    stall_after: int | None = None  # bytes of the body, then nothing comes
    ignore_range: bool = False
    ignore_condition: bool = False
    chunked: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came."""

    path: str
    range: str | None
    condition: str | None


@dataclass(kw_only=True)
class Served:
    """One file of the server."""

    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = MODIFIED


class BadServer:
    """Serves `files` by path and query; `faults` are used up one request at a time."""

    def __init__(self, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.asked: list[Asked] = []
        self.free = threading.Event()
        self.stalled = threading.Event()
        self._http = _Http((host, 0), _Handler)
        self._http.owner = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return "{}://{}:{}".format(self._scheme, *self._http.server_address[:2])

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(bos=self.url, huggingface=self.url, modelscope=self.url)

    def serve(self, path: str, content: bytes, **more: str | None) -> str:
        self.files[path] = Served(content=content, **more)
        return self.url + path

    def serve_json(self, path: str, value: object) -> None:
        self.serve(path, json.dumps(value).encode())

    def fail(self, path: str, **fault: Any) -> None:
        """Queue a Fault for the next request to `path` that has none queued yet."""
        self.faults[path].append(Fault(**fault))

    def ranges(self, path: str) -> list[str | None]:
        return [asked.range for asked in self.asked if asked.path == path]

    def serve_bos(self, name: str, archive: bytes) -> str:
        """Upstream's tar of a set; returns the path."""
        path = f"/paddlex/official_inference_model/paddle3.0.0/{name}_infer.tar"
        self.serve(path, archive)
        return path

    def serve_huggingface(self, name: str, files: Mapping[str, bytes], *, revision: str = REVISION) -> None:
        siblings = []
        for path, content in files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
            if path.endswith((".safetensors", ".pdiparams", ".gguf")):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
            self.serve(f"/PaddlePaddle/{name}/resolve/{revision}/{path}", content, etag=f'"{blob}"')
        answer = {"id": f"PaddlePaddle/{name}", "sha": revision, "siblings": siblings}
        self.serve_json(f"/api/models/PaddlePaddle/{name}?blobs=true", answer)
        self.serve_json(f"/api/models/PaddlePaddle/{name}/revision/{revision}?blobs=true", answer)

    def serve_modelscope(self, name: str, files: Mapping[str, bytes]) -> None:
        entries: list[dict[str, object]] = [
            {"Path": "sub", "Name": "sub", "Type": "tree", "Size": 0, "Sha256": ""}
        ]
        for path, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            entries.append({"Path": path, "Type": "blob", "Size": len(content), "Sha256": digest})
            query = urlencode({"Revision": "master", "FilePath": path})
            self.serve(f"/api/v1/models/PaddlePaddle/{name}/repo?{query}", content, etag=f'"{digest}"')
        listing = f"/api/v1/models/PaddlePaddle/{name}/repo/files?Revision=master&Recursive=true"
        self.serve_json(listing, {"Code": 200, "Success": True, "Data": {"Files": entries}})

    def close(self) -> None:
        self.free.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    owner: BadServer
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, *_: object) -> None:
        """Tests read `asked` instead."""

    def do_GET(self) -> None:
        owner = self.server.owner
        # A client that takes us for its proxy names the whole address.
        self.path = urlunsplit(("", "", *urlsplit(self.path)[2:4], ""))
        owner.asked.append(
            Asked(path=self.path, range=self.headers.get("Range"), condition=self.headers.get("If-Range"))
        )
        queue = owner.faults[self.path]
        fault = queue.popleft() if queue else Fault()
        served = owner.files.get(self.path)
        if served is None and fault.status is None:
            fault = Fault(status=404)
        status, headers, body = self._answer(served or Served(content=b""), fault)
        headers.update(fault.headers)
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self._send(body, fault)

    def _answer(self, served: Served, fault: Fault) -> tuple[int, dict[str, str | None], bytes]:
        whole = served.content if fault.body is None else fault.body
        headers: dict[str, str | None] = {"ETag": served.etag, "Last-Modified": served.modified}
        if fault.status is not None:
            return fault.status, {"Content-Length": str(len(fault.body or b""))}, fault.body or b""
        start = self._start(served, fault)
        if start is None:
            return 200, {**headers, "Content-Length": str(len(whole))}, whole
        if start >= len(whole):
            return 416, {"Content-Range": f"bytes */{len(whole)}", "Content-Length": "0"}, b""
        rest = whole[start:]
        span = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        return 206, {**headers, "Content-Range": span, "Content-Length": str(len(rest))}, rest

    def _start(self, served: Served, fault: Fault) -> int | None:
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked is None or fault.ignore_range:
            return None
        if condition not in (None, served.etag, served.modified) and not fault.ignore_condition:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, body: bytes, fault: Fault) -> None:
        stop = fault.cut_after if fault.cut_after is not None else fault.stall_after
        sent = body if stop is None else body[:stop]
        if fault.chunked:
            for at in range(0, len(sent), 1000):
                block = sent[at : at + 1000]
                self.wfile.write(b"%x\r\n" % len(block) + block + b"\r\n")
            if stop is None:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(sent)
        self.wfile.flush()
        if fault.stall_after is not None:
            self.server.owner.stalled.set()
            self.server.owner.free.wait(STALL_ENDS_AFTER)
        if stop is not None:
            self._hang_up(reset=fault.reset)

    def _hang_up(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


class Sets:
    """Contents of weight sets as upstream has them, only small."""

    vlm = WeightSet(
        name="PaddleOCR-VL-1.6",
        role=WeightsRole.VLM,
        bos="https://example.invalid/paddlex/official_inference_model/paddle3.0.0/PaddleOCR-VL-1.6_infer.tar",
        huggingface="PaddlePaddle/PaddleOCR-VL-1.6",
        modelscope="PaddlePaddle/PaddleOCR-VL-1.6",
    )
    layout = WeightSet(
        name="PP-DocLayoutV3",
        role=WeightsRole.LAYOUT,
        bos="https://example.invalid/paddlex/official_inference_model/paddle3.0.0/PP-DocLayoutV3_infer.tar",
        huggingface="PaddlePaddle/PP-DocLayoutV3",
        modelscope="PaddlePaddle/PP-DocLayoutV3",
    )
    gguf = WeightSet(
        name="PaddleOCR-VL-1.6-GGUF", role=WeightsRole.GGUF, huggingface="PaddlePaddle/PaddleOCR-VL-1.6-GGUF"
    )
    vlm_files: Mapping[str, bytes] = {
        "config.json": b"{}\n",
        "model.safetensors": bytes(range(256)) * 800,
        "tokenizer.json": b'{"version": "1.0"}\n',
        "sub/chat_template.jinja": b"{{ text }}\n",
    }
    layout_files: Mapping[str, bytes] = {
        "inference.yml": b"Global:\n  model_name: PP-DocLayoutV3\n",
        "inference.json": b"{}\n",
        "inference.pdiparams": b"\x01\x02" * 3000,
    }
    gguf_files: Mapping[str, bytes] = {
        "PaddleOCR-VL-1.6.gguf": b"GGUF model",
        "PaddleOCR-VL-1.6-mmproj.gguf": b"GGUF projector",
    }

    @staticmethod
    def tar(files: Mapping[str, bytes], top: str) -> bytes:
        """A tar as upstream makes them; `top` is put before every name."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(top + name)
                member.size, member.mode, member.mtime = len(content), 0o600, 1_700_000_000
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    @staticmethod
    def write(directory: Path, files: Mapping[str, bytes]) -> Path:
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return directory
