"""The schema: applied once, by many at a time, and never over something newer."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import psycopg
import pytest

import database
from database import SCHEMA, Database, WrongSchema, migrate
from job_stack import POSTGRES, Postgres

pytestmark = pytest.mark.needs(POSTGRES)


@pytest.fixture(autouse=True)
def _new_database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS_DATABASE", postgres.new_database())


def test_many_starters_apply_each_file_once() -> None:
    applied: list[int] = []
    threads = [threading.Thread(target=lambda: applied.extend(migrate())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied == [int(path.stem.removeprefix("schema-")) for path in sorted(SCHEMA.glob("schema-*.sql"))]
    assert migrate() == []


def test_the_next_version(tmp_path: Path) -> None:
    for file in SCHEMA.glob("schema-*.sql"):
        (tmp_path / file.name).write_text(file.read_text())
    migrate(tmp_path)
    (tmp_path / "schema-099.sql").write_text("ALTER TABLE job ADD colour text NOT NULL DEFAULT 'grey';")
    assert migrate(tmp_path) == [99]
    with pytest.raises(WrongSchema, match="schema 99 of a newer version, this one knows 1: start the newer"):
        migrate()
    opened = Database(1)
    with pytest.raises(WrongSchema):
        asyncio.run(opened.open())
    assert "newer version" in opened.trouble


def test_a_file_that_was_changed(tmp_path: Path) -> None:
    file = tmp_path / "schema-001.sql"
    file.write_text("CREATE TABLE a (b int);")
    migrate(tmp_path)
    file.write_text("CREATE TABLE a (b bigint);")
    with pytest.raises(WrongSchema, match=r"schema-001\.sql was changed after"):
        migrate(tmp_path)


def test_half_a_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "schema-001.sql").write_text("CREATE TABLE a (b int); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(tmp_path)
    (tmp_path / "schema-001.sql").write_text("CREATE TABLE a (b int);")
    assert migrate(tmp_path) == [1]


def test_the_password_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PASSWORD_FILE", tmp_path / "key")
    monkeypatch.setenv("JOBS_DATABASE", "host=database dbname=jobs user=jobs")
    with pytest.raises(FileNotFoundError):
        database.address()
    (tmp_path / "key").write_text("secret\n")
    assert "password=secret" in database.address()
