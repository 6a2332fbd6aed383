"""PostgreSQL, the one place where jobs are: connections that survive its restarts, and its schema, brought up to date.

The schema is in numbered files beside this one. Each is applied once, in a transaction of its own; many starters are
safe; a file that was changed after it was applied, and a database that a newer version has written, are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

SCHEMA = Path(__file__).parent
PASSWORD_FILE = Path(os.environ.get("PADDOCK_DATABASE_KEY_FILE", "/var/lib/paddock/database/key"))
# A cable that is pulled gives no error for minutes otherwise.
NETWORK = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
WAIT = 5.0  # seconds for a connection
LOCK_WITHIN = "10s"
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout)
log = logging.getLogger("uvicorn.error")
Row = dict[str, Any]


class WrongSchema(Exception):  # noqa: N818 - it is an answer
    """Why this program cannot use that database."""


def address() -> str:
    """How to connect: JOBS_DATABASE in libpq's form, with the password that the database made at its first start.

    Raises OSError for a password that is not there yet.
    """
    asked = os.environ.get("JOBS_DATABASE", "host=database dbname=jobs user=jobs")
    if "password" in asked or "host=/" in asked:  # the site's own database; a socket, which knows who asks
        return make_conninfo(asked, **NETWORK)
    return make_conninfo(asked, password=PASSWORD_FILE.read_text("ascii").strip(), **NETWORK)


def connect(options: str = "") -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of its own, for a thread; every statement is a transaction unless one is begun."""
    return psycopg.connect(address(), autocommit=True, options=options)


async def listen(channels: Mapping[str, Callable[[str], None]]) -> None:
    """Call one of these for each notification; each once with "" after a (new) connection, since some were missed."""
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(address(), autocommit=True) as connection:
                for channel in channels:
                    await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                for told in channels.values():
                    told("")
                async for note in connection.notifies():
                    channels[note.channel](note.payload)
        except (*AWAY, OSError):
            await asyncio.sleep(random.uniform(0.3, 0.7))  # noqa: S311 - it only spreads


class Database:
    """A few connections that all of a process use."""

    def __init__(self, connections: int) -> None:
        self._most = connections
        self._pool: psycopg_pool.AsyncConnectionPool[Any] | None = None
        self.trouble = "the database was not reached yet"  # why it cannot be used; empty when it can

    async def open(self) -> None:
        """Wait for the database and bring its schema up to date; raises WrongSchema."""
        while self._pool is None:
            try:
                await asyncio.to_thread(migrate)
                self._pool = psycopg_pool.AsyncConnectionPool(
                    address(),
                    min_size=1,
                    max_size=self._most,
                    open=False,
                    timeout=WAIT,
                    reconnect_timeout=3600,
                    kwargs={"autocommit": True, "row_factory": dict_row},
                    check=psycopg_pool.AsyncConnectionPool.check_connection,
                )
            except (psycopg.Error, OSError) as wrong:
                self.trouble = f"the database cannot be used: {_line(wrong)}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - it only spreads
            except WrongSchema as wrong:
                self.trouble = str(wrong)
                raise
        await self._pool.open()
        self.trouble = ""

    async def rows(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """What one statement gives; raises one of AWAY while the database is away."""
        if self._pool is None:
            raise psycopg_pool.PoolTimeout(self.trouble)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, values)
            return await cursor.fetchall() if cursor.description else []


async def patiently(
    ask: Callable[[], Coroutine[Any, Any, list[Row]]], *, until: Callable[[], bool] = lambda: False
) -> list[Row]:
    """Repeat a question while the database is away. Whatever is asked so must be harmless twice."""
    while True:
        try:
            return await ask()
        except (*AWAY, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            if until():
                raise asyncio.CancelledError from None
            await asyncio.sleep(random.uniform(0.2, 0.6))  # noqa: S311 - it only spreads


def migrate(folder: Path = SCHEMA) -> list[int]:
    """Apply what is missing; the numbers of the files that were. Raises WrongSchema, and psycopg's errors."""
    files = {int(file.stem.removeprefix("schema-")): file for file in sorted(folder.glob("schema-[0-9]*.sql"))}
    applied = []
    with connect(f"-c lock_timeout={LOCK_WITHIN}") as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('paddock-jobs'))")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_file (number int PRIMARY KEY, sha256 text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = {row[0]: row[1] for row in connection.execute("SELECT number, sha256 FROM schema_file")}
        if known and max(known) > max(files):
            raise WrongSchema(
                f"the database has the schema {max(known)} of a newer version, this one knows {max(files)}: "
                "start the newer version again, or restore the backup from before the upgrade"
            )
        for number, file in files.items():
            text = file.read_text("utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if number not in known:
                with connection.transaction():
                    connection.execute(text.encode())
                    connection.execute("INSERT INTO schema_file VALUES (%s, %s)", (number, digest))
                applied.append(number)
            elif known[number] != digest:
                raise WrongSchema(f"{file.name} was changed after this database had applied it: restore the file")
    return applied


def _line(wrong: Exception) -> str:
    return (str(wrong).strip() or type(wrong).__name__).splitlines()[0]
