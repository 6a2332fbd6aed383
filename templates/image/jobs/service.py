"""The jobs API: takes documents, says how far they are, and hands out results.

An ASGI application. It speaks the protocol of PaddleOCR's own client (paddleocr 3.7.0, `_api_client`): answers are
{"code": 0, "data": ...}, or {"code": STATUS, "msg": ...} with the HTTP statuses that the client tells apart.
A submission is answered once the document and the job are on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg

import database
import description
import jobfigures
import links
import submission
from blobs import Blobs
from database import Database, Row
from door import READ_IDLE, Receive, Scope, Send, answer, require_host
from keys import Keys
from limits import Refusal
from signing import Links
from submission import Asked
from tasks import RESULT, with_files
from tidying import Tidying

API = "/api/v2/ocr"
RETRY_AFTER = 10  # seconds
COUNT_FOR = 1.0  # seconds that a count of waiting jobs is kept
MOST_LISTED = 200
LONGEST_REPEAT_KEY = 200  # characters
PIECE = 1 << 18  # bytes
FILE_OF_RESULT = re.compile(r"result\.jsonl|page-\d{4,6}-\d{1,6}\.[a-z]{3,4}")
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
log = logging.getLogger("uvicorn.error")
Headers = Mapping[str, str]
COLUMNS = (
    "id, state, model, name, batch, head_start, options, page_ranges, pages, pages_done, result, error, created_at,"
    " started_at, finished_at"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the site has chosen."""

    hosts: tuple[str, ...]  # names of this service
    models: tuple[str, ...]  # that are served
    documents: links.Allowed  # hosts of documents
    hooks: links.Allowed  # hosts of webhooks
    max_bytes: int
    max_waiting: int  # jobs that have not begun
    public_url: str  # in front of links; empty: as the client called the service


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Headers
    who: str  # name of the key; empty for what needs none
    found: Mapping[str, str]  # parts of the path
    receive: Receive
    send: Send

    def asked(self, name: str) -> str:
        """A value of the query; empty where there is none."""
        return self.query.get(name, [""])[0]


class Service:
    """The application."""

    def __init__(
        self,
        jobs: Database,
        blobs: Blobs,
        *,
        signed: Links,
        tidying: Tidying,
        settings: Settings,
        keys: Keys | None,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._signed = signed
        self._tidying = tidying
        self._settings = settings
        self._keys = keys
        self._waiting = (float("-inf"), 0)  # when it was counted, jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun = False

        async def noting(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await asyncio.wait_for(send(message), READ_IDLE)

        try:
            await self._route(scope, receive, noting)
        except Exception as wrong:
            if begun:
                raise
            refused = refusal_of(wrong, self._jobs.trouble)
            if refused.status == 500:
                log.exception("unexpected failure")
            await refuse(noting, refused)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        require_host(headers.get("host", ""), self._settings.hosts)
        path, method = scope["path"], "GET" if scope["method"] == "HEAD" else scope["method"]
        fitting = [(route, found) for route in ROUTES if (found := route.path.fullmatch(path))]
        if not fitting:
            raise Refusal(404, "Not Found")
        for route, found in fitting:
            if route.method == method:
                who = self._name_of(headers) if route.needs_key else ""
                query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20)
                call = Call(method, path, query, headers, who, found.groupdict(), receive, send)
                await route.work(self, call)
                return
        raise Refusal(405, f"{path} takes {' or '.join(route.method for route, _ in fitting)}")

    def _name_of(self, headers: Headers) -> str:
        if self._keys is None:
            return ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
        if not key:
            raise Refusal(401, "found no key, expected one as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        name = self._keys.name_of(key)
        if name is None:
            raise Refusal(401, "this key is not known here, or not any more")
        return name

    # --- submitting -------------------------------------------------------------------------------------------

    async def submit(self, call: Call) -> None:
        repeat_key = call.headers.get("idempotency-key") or None
        if repeat_key is not None and (len(repeat_key) > LONGEST_REPEAT_KEY or not repeat_key.isprintable()):
            raise Refusal(400, f"Idempotency-Key: expected at most {LONGEST_REPEAT_KEY} printable characters")
        await self._require_place()
        job = uuid.uuid4()
        key = f"documents/{job}"
        async with submission.stored(self._blobs, key) as file:
            asked, start = await self._receive(call, file)
            submission.require_document(start, file.size)
        # Whatever happens from here on, the file stays: that no answer came does not say that nothing was written.
        values = {
            "id": job,
            "who": call.who,
            "repeat": repeat_key,
            "sha256": asked.sha256(file.sha256),
            "batch": asked.batch,
            "model": asked.model,
            "name": asked.name,
            "options": json.dumps(asked.options),
            "ranges": asked.page_ranges,
            "head_start": submission.PRIORITIES[asked.priority],
            "hook": asked.hook_url,
            "document": key,
            "bytes": file.size,
        }
        accepted = await self._accept(values)
        if accepted != job:
            await asyncio.to_thread(self._blobs.remove, key)
        await give(call, {"jobId": str(accepted)})

    async def _require_place(self) -> None:
        counted, number = self._waiting
        if counted < time.monotonic() - COUNT_FOR:
            (row,) = await self._jobs.rows("SELECT count(*) AS number FROM job WHERE state = 'pending'")
            number = row["number"]
            self._waiting = (time.monotonic(), number)
        if number >= self._settings.max_waiting:
            raise Refusal(
                429, f"{number} jobs wait, as many as JOBS_MAX_WAITING allows: try again later", retry_after=RETRY_AFTER
            )

    async def _receive(self, call: Call, file: Any) -> tuple[Asked, bytes]:
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        most = self._settings.max_bytes
        if kind == "multipart/form-data":
            length = call.headers.get("content-length", "")
            room = most + submission.MOST_FIELD * submission.MOST_FIELDS
            if length and (not length.isdigit() or int(length) > room):
                raise Refusal(413, submission.too_large(most))
            form = submission.Form(call.headers["content-type"], file, most)
            async for piece in submission.pieces(call.receive, room, submission.too_large(most)):
                await asyncio.to_thread(form.feed, piece)
            form.finish()
            return self._asked(form.fields, form.file_name or ""), bytes(form.start)
        if kind != "application/json":
            raise Refusal(400, "expected multipart/form-data with a part `file`, or JSON with fileUrl")
        body = bytearray()
        async for piece in submission.pieces(call.receive, submission.MOST_JSON, "the JSON is too large"):
            body += piece
        fields = _object(bytes(body))
        link = fields.get("fileUrl")
        if not isinstance(link, str) or not links.is_link(link):
            raise Refusal(400, "fileUrl: is missing or no link, expected http: or https:")
        asked = self._asked(fields, Path(link.partition("?")[0]).name)
        data = await links.fetch(link, self._settings.documents, most)
        await asyncio.to_thread(file.write, data)
        return asked, data[: submission.PDF_WITHIN + 5]

    def _asked(self, fields: Mapping[str, Any], name: str) -> Asked:
        return submission.asked(fields, name, models=self._settings.models, hooks=self._settings.hooks)

    async def _accept(self, values: Row) -> Any:
        """The job's id, once it is on the database's disk: a new one, or that of the same submission before."""
        made = await self._jobs.rows(
            """
            WITH made AS (
                INSERT INTO job (id, key_name, repeat_key, asked_sha256, batch, model, name, options, page_ranges,
                    head_start, hook_url, document, document_bytes)
                VALUES (%(id)s, %(who)s, %(repeat)s, %(sha256)s, %(batch)s, %(model)s, %(name)s, %(options)s,
                    %(ranges)s, %(head_start)s, %(hook)s, %(document)s, %(bytes)s)
                ON CONFLICT DO NOTHING RETURNING id, created_at, head_start),
            queued AS (INSERT INTO task (job_id, kind, place) SELECT id, 'split', created_at - head_start FROM made)
            SELECT id, count_up('accepted', '', 1), pg_notify('task_ready', '') FROM made
            """,
            values,
        )
        if made:
            return made[0]["id"]
        before = await self._jobs.rows(
            "SELECT id, asked_sha256 FROM job WHERE key_name = %(who)s AND repeat_key = %(repeat)s", values
        )
        if not before:
            raise Refusal(503, "the job with this Idempotency-Key was just deleted: try again", retry_after=1)
        if bytes(before[0]["asked_sha256"]) != values["sha256"]:
            raise Refusal(409, "this Idempotency-Key was used for another document or other options")
        return before[0]["id"]

    # --- looking ----------------------------------------------------------------------------------------------

    async def state(self, call: Call) -> None:
        rows = await self._jobs.rows(
            f"SELECT {COLUMNS} FROM job WHERE id = %s AND key_name = %s",  # noqa: S608 - names of columns
            (call.found["job"], call.who),
        )
        if not rows:
            raise _no_job()
        await give(call, self._said(call, rows[0]))

    async def batch(self, call: Call) -> None:
        rows = await self._jobs.rows(
            f"SELECT {COLUMNS} FROM job WHERE key_name = %s AND batch = %s ORDER BY created_at, id",  # noqa: S608
            (call.who, call.found["batch"]),
        )
        await give(call, {"batchId": call.found["batch"], "extractResult": [self._said(call, row) for row in rows]})

    async def listed(self, call: Call) -> None:
        state, limit, before = call.asked("state"), call.asked("limit") or "50", call.asked("before")
        if state and state not in ("pending", "running", "done", "failed"):
            raise Refusal(400, f"state: found {state[:40]!r}, expected pending, running, done or failed")
        if not limit.isdigit() or not 1 <= int(limit) <= MOST_LISTED:
            raise Refusal(400, f"limit: found {limit[:40]!r}, expected 1 to {MOST_LISTED}")
        with contextlib.suppress(ValueError):
            before = str(uuid.UUID(before)) if before else ""
        rows = await self._jobs.rows(
            f"""
            SELECT {COLUMNS} FROM job
            WHERE key_name = %(who)s
                AND (%(state)s = '' OR state = %(state)s OR %(state)s = 'failed' AND state = 'cancelled')
                AND (%(before)s = '' OR (created_at, id) < (
                    SELECT created_at, id FROM job WHERE id::text = %(before)s AND key_name = %(who)s))
            ORDER BY created_at DESC, id DESC LIMIT %(limit)s
            """,  # noqa: S608 - names of columns
            {"who": call.who, "state": state, "before": before, "limit": int(limit)},
        )
        await give(call, {"jobs": [self._said(call, row) for row in rows]})

    def _said(self, call: Call, job: Row) -> dict[str, Any]:
        """A job as clients know it: for them, one that was cancelled has failed."""
        ended = job["state"] in ("failed", "cancelled")
        said: dict[str, Any] = {
            "jobId": str(job["id"]),
            "state": "failed" if ended else job["state"],
            "model": job["model"],
            "fileName": job["name"],
            "createdAt": job["created_at"].isoformat(),
        }
        if job["batch"] is not None:
            said["batchId"] = job["batch"]
        if job["pages"] is not None:
            said["extractProgress"] = {
                "totalPages": job["pages"],
                "extractedPages": job["pages_done"],
                "startTime": job["started_at"].isoformat(),
                "endTime": job["finished_at"].isoformat() if job["finished_at"] else None,
            }
        if ended:
            said["errorMsg"] = job["error"]
            said["cancelled"] = job["state"] == "cancelled"
        if job["state"] == "done":
            link = self._signed.to(str(job["id"]), RESULT, self._signed.expiry())
            said["resultUrl"] = {"jsonUrl": self._base(call) + link}
        return said

    def _base(self, call: Call) -> str:
        scheme = "https" if call.headers.get("x-forwarded-proto") == "https" else "http"
        return self._settings.public_url or f"{scheme}://{call.headers['host']}"

    # --- ending -----------------------------------------------------------------------------------------------

    async def cancel(self, call: Call) -> None:
        (row,) = await self._jobs.rows("SELECT cancel_job(%s, %s) AS state", (call.found["job"], call.who))
        if row["state"] is None:
            raise _no_job()
        await self.state(call)

    async def delete(self, call: Call) -> None:
        await self._jobs.rows("SELECT cancel_job(%s, %s)", (call.found["job"], call.who))
        rows = await self._jobs.rows(
            "DELETE FROM job WHERE id = %s AND key_name = %s RETURNING id, document, result",
            (call.found["job"], call.who),
        )
        if not rows:
            raise _no_job()
        await asyncio.to_thread(self._tidying.remove, rows[0])
        await give(call, {"jobId": call.found["job"], "deleted": True})

    # --- results ----------------------------------------------------------------------------------------------

    async def result(self, call: Call) -> None:
        job, name = call.found["job"], call.found["name"]
        expires = call.asked("expires")
        if not self._signed.holds(job, name, expires, call.asked("signature")):
            raise Refusal(403, "this link is not whole, or not from here")
        if int(expires) < time.time():
            raise Refusal(403, "this link has expired: ask for the state of the job, which has a new one")
        rows = await self._jobs.rows("SELECT result FROM job WHERE id = %s AND state = 'done'", (job,))
        path = self._blobs.path(f"{rows[0]['result']}/{name}") if rows else None
        if path is None or not FILE_OF_RESULT.fullmatch(name) or not path.is_file():
            raise Refusal(410, "the job of this link was deleted")
        if name == RESULT:
            await self._pour_lines(call, path, job, int(expires))
        else:
            await self._pour(call, path, TYPES.get(name.rpartition(".")[2], "application/octet-stream"))

    async def _pour(self, call: Call, path: Path, kind: str) -> None:
        await begin(call, kind, path.name, path.stat().st_size)
        with path.open("rb") as file:
            while call.method == "GET" and (piece := await asyncio.to_thread(file.read, PIECE)):
                await call.send({"type": "http.response.body", "body": piece, "more_body": True})
        await call.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pour_lines(self, call: Call, path: Path, job: str, expires: int) -> None:
        """The pages, line by line, with links to their files that expire together with the link to this one."""
        base = self._base(call)

        def link(name: str) -> str:
            return base + self._signed.to(job, name, expires) if FILE_OF_RESULT.fullmatch(name) else name

        def linked(line: bytes) -> bytes:
            read = json.loads(line)
            for page in read["result"]["layoutParsingResults"]:
                with_files(page, link)
            return json.dumps(read, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

        await begin(call, "application/x-ndjson; charset=utf-8", path.name, None)
        with path.open("rb") as lines:
            while line := await asyncio.to_thread(lines.readline):
                made = await asyncio.to_thread(linked, line)
                await call.send({"type": "http.response.body", "body": made, "more_body": True})
        await call.send({"type": "http.response.body", "body": b"", "more_body": False})

    # --- about the service ------------------------------------------------------------------------------------

    async def health(self, call: Call) -> None:
        await give(call, {"healthy": True})

    async def ready(self, call: Call) -> None:
        await self._jobs.rows("SELECT 1")
        await give(call, {"ready": True, "models": list(self._settings.models)})

    async def metrics(self, call: Call) -> None:
        made = await jobfigures.text(self._jobs)
        await begin(call, "text/plain; version=0.0.4; charset=utf-8", None, len(made))
        await call.send({"type": "http.response.body", "body": made, "more_body": False})

    async def described(self, call: Call) -> None:
        made = description.document(keys=self._keys is not None, models=self._settings.models)
        await answer(call.send, 200, [json.dumps(made).encode()])


@dataclass(frozen=True)
class Route:
    """A path, and what answers it."""

    method: str
    template: str  # as in OpenAPI
    work: Callable[[Service, Call], Awaitable[None]]
    needs_key: bool = True

    @property
    def path(self) -> re.Pattern[str]:
        return re.compile(
            self.template.replace("{job}", "(?P<job>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
            .replace("{batch}", "(?P<batch>[^/]{1,200})")
            .replace("{name}", "(?P<name>[^/]{1,100})")
        )


ROUTES = (
    Route("POST", f"{API}/jobs", Service.submit),
    Route("GET", f"{API}/jobs", Service.listed),
    Route("GET", f"{API}/jobs/{{job}}", Service.state),
    Route("DELETE", f"{API}/jobs/{{job}}", Service.delete),
    Route("POST", f"{API}/jobs/{{job}}/cancel", Service.cancel),
    Route("GET", f"{API}/jobs/batch/{{batch}}", Service.batch),
    Route("GET", f"{API}/results/{{job}}/{{name}}", Service.result, needs_key=False),
    Route("GET", "/api/v2/openapi.json", Service.described, needs_key=False),
    Route("GET", "/health", Service.health, needs_key=False),
    Route("GET", "/health/ready", Service.ready, needs_key=False),
    Route("GET", "/metrics", Service.metrics, needs_key=False),
)


def refusal_of(wrong: Exception, trouble: str) -> Refusal:
    """How a request that failed is answered: with a status that PaddleOCR's client knows, where there is one."""
    if isinstance(wrong, Refusal):
        return Refusal(400, wrong.reason) if wrong.status in (415, 422) else wrong
    if isinstance(wrong, OSError) and wrong.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(507, "the disk for documents is full: nothing was kept of this one")
    if isinstance(wrong, (*database.AWAY, psycopg.errors.UndefinedTable)):
        return Refusal(503, trouble or "the database does not answer: nothing is lost, try again", retry_after=5)
    return Refusal(500, "Internal server error")


def _no_job() -> Refusal:
    return Refusal(404, "there is no such job, or it is another key's")


def _object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise Refusal(400, f"the body is not JSON ({wrong or 'nested too deeply'})") from wrong
    if not isinstance(read, dict):
        raise Refusal(400, f"found {type(read).__name__}, expected a JSON object")
    return read


async def give(call: Call, data: dict[str, Any]) -> None:
    """An answer with data, in the form of PaddleOCR's service."""
    await answer(call.send, 200, [json.dumps({"code": 0, "msg": "", "data": data}, ensure_ascii=False).encode()])


async def begin(call: Call, kind: str, file_name: str | None, size: int | None) -> None:
    """The headers of a file: nothing that a browser would show as a page of ours."""
    headers = {
        "content-type": kind,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private",
    }
    if file_name:
        headers["content-disposition"] = f'attachment; filename="{file_name}"'
    if size is not None:
        headers["content-length"] = str(size)
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await call.send({"type": "http.response.start", "status": 200, "headers": encoded})


async def refuse(send: Send, refused: Refusal) -> None:
    """Answer with a refusal, and close the connection: what is left of the body is not wanted."""
    headers = [(b"connection", b"close")]
    if refused.retry_after:
        headers.append((b"retry-after", str(refused.retry_after).encode()))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    said = json.dumps({"code": refused.status, "msg": refused.reason, "data": None}, ensure_ascii=False)
    await answer(send, refused.status, [said.encode("utf-8", "backslashreplace")], headers)
