"""Answers as a pipeline API does, for PDFs whose page N is 100 + N points wide; runs in the image `jobs`."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pypdfium2

SECONDS = 0.5  # that a request takes
ONE = threading.Lock()  # PDFium knows nothing of threads
PICTURE = base64.b64encode(b"\xff\xd8\xff" + b"picture " * 4000).decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.say({"ready": True})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with ONE:
            document = pypdfium2.PdfDocument(base64.b64decode(body["file"]))
            numbers = [round(document.get_page_size(page)[0]) - 100 for page in range(len(document))]
            document.close()
        time.sleep(SECONDS)
        pages = [
            {
                "prunedResult": {},
                "markdown": {"text": f"page {number}", "images": {"a.jpg": PICTURE}},
            }
            for number in numbers
        ]
        self.say({"errorCode": 0, "result": {"layoutParsingResults": pages, "dataInfo": {"type": "pdf"}}})

    def say(self, answer: object) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
