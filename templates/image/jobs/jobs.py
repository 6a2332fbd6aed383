"""Starts the jobs service: the API, its workers, and one more worker for what ended others. What dies is started again.

usage: jobs.py                all of it
       jobs.py api | worker | solo    one of them
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from limits import Limits, names, number

FOLDER = Path(os.environ.get("PADDOCK_JOBS_DIR", "/var/lib/paddock/jobs"))
KEYS_FILE = Path(os.environ.get("PADDOCK_KEYS_FILE", "/etc/paddock/api-keys/keys"))
PORT = number("JOBS_PORT", 8080)
GRACE = 20.0  # seconds in which a worker may finish what it has
AFTER_GRACE = 5.0  # more seconds until whatever is left is killed
PAUSE = 1.0  # seconds between an end and the next start of the same program
log = logging.getLogger("jobs")


def main() -> None:
    """One of the roles, or all of them."""
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role == "api":
        asyncio.run(serve())
    elif role in ("worker", "solo"):
        work(solo=role == "solo")
    else:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        supervise([["api"], *[["worker"]] * number("JOBS_WORKERS", 2), ["solo"]])


async def serve() -> None:
    """The API, until SIGTERM."""
    import server
    from blobs import Blobs
    from database import Database, WrongSchema
    from keys import Keys
    from links import Allowed
    from service import Service, Settings
    from signing import Links, secret
    from tidying import Tidying

    limits = Limits()
    jobs, blobs = Database(8), Blobs(FOLDER)
    settings = Settings(
        hosts=names("API_HOSTS"),
        models=tuple(os.environ["JOBS_MODELS"].replace(",", " ").split()),
        documents=Allowed.read(names("ALLOW_URLS")),
        hooks=Allowed.read(names("JOBS_WEBHOOKS")),
        max_bytes=limits.max_bytes,
        max_waiting=number("JOBS_MAX_WAITING", 10_000),
        public_url=os.environ.get("JOBS_PUBLIC_URL", "").rstrip("/"),
    )
    service = Service(
        jobs,
        blobs,
        signed=Links(secret(FOLDER / "link-key"), number("JOBS_LINK_SECONDS", 86_400)),
        tidying=Tidying(jobs, blobs, number("JOBS_KEEP_DAYS", 7)),
        settings=settings,
        keys=Keys(KEYS_FILE) if os.environ.get("API_KEYS") else None,
    )

    async def open_database() -> None:
        with contextlib.suppress(WrongSchema):  # every answer says so
            await jobs.open()

    class Quiet(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            """Neither health checks nor signed links belong into a log."""
            said = record.getMessage()
            return not ("GET /health" in said or "GET /metrics" in said or "signature=" in said)

    logging.getLogger("uvicorn.access").addFilter(Quiet())
    opening = asyncio.ensure_future(open_database())
    await server.serve(service, PORT)
    opening.cancel()


def work(*, solo: bool) -> None:
    """A worker, until SIGTERM. The solo one also tidies and calls webhooks."""
    import worker
    from apicalls import apis
    from blobs import Blobs
    from database import Database
    from links import Allowed
    from signing import secret
    from tasks import Reading
    from tidying import Tidying
    from webhooks import Webhooks

    blobs = Blobs(FOLDER)
    slots = max(1, number("JOBS_PARALLEL_PARTS", 8) // number("JOBS_WORKERS", 2))

    async def run() -> None:
        beside: list[asyncio.Future[None]] = []
        if solo:
            jobs = Database(2)
            hooks = Webhooks(jobs, Allowed.read(names("JOBS_WEBHOOKS")), secret(FOLDER / "webhook-key"))

            async def besides() -> None:
                await jobs.open()
                await asyncio.gather(hooks.run(), Tidying(jobs, blobs, number("JOBS_KEEP_DAYS", 7)).run())

            beside.append(asyncio.ensure_future(besides()))
        reading = Reading(blobs, apis())
        await worker.Worker(reading, slots=slots, reserved=slots // 4, solo=solo, grace=GRACE).run()
        for task in beside:
            task.cancel()

    worker.start(run())


def supervise(roles: list[list[str]]) -> None:
    """Run these, and start again what ends, until SIGTERM; then let all of them end."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    started = [_start(role) for role in roles]
    while not stopping:
        time.sleep(PAUSE)
        for place, program in enumerate(started):
            if program.poll() is not None and not stopping:
                log.error("%s ended with status %s and is started again", roles[place][0], program.returncode)
                started[place] = _start(roles[place])
    for program in started:
        program.terminate()
    end = time.monotonic() + GRACE + AFTER_GRACE
    for program in started:
        try:
            program.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            program.kill()


def _start(role: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, *role])


if __name__ == "__main__":
    main()
