"""Downloads from a server that cuts, stalls, lies, changes its mind and refuses."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests

from paddock.errors import PreflightError, SourceError
from paddock.weights.diskspace import require_room
from paddock.weights.download import Patience, download, read_json
from paddock.weights.published import Published
from programs import free_port
from recording import Recorder
from weight_sources import BadServer

Get = Callable[..., Path]

CONTENT = random.Random(7).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PATH = "/file.bin"


@pytest.fixture
def get(
    server: BadServer, session: requests.Session, report: Recorder, hasty: Patience, tmp_path: Path
) -> Get:
    """Download PATH into tmp_path; returns the file."""

    def run(*, published: Published | None = None, patience: Patience = hasty) -> Path:
        to = tmp_path / "in" / "file.bin"
        digest = download(
            session, server.url + PATH, to, report=report, published=published, patience=patience
        )
        assert digest == hashlib.sha256(to.read_bytes()).hexdigest()
        assert [path.name for path in to.parent.iterdir()] == ["file.bin"]
        return to

    return run


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "in" / "file.bin.part"


def refused(get: Get, *words: str, **options: object) -> SourceError:
    with pytest.raises(SourceError) as failure:
        get(**options)
    for word in words:
        assert word in failure.value.message
    assert failure.value.exit_code == 7
    return failure.value


def test_a_file_comes_whole_with_progress_in_bytes(get: Get, server: BadServer, report: Recorder) -> None:
    server.serve(PATH, CONTENT)
    assert get().read_bytes() == CONTENT
    (bar,) = report.bars
    assert (bar.label, bar.total, bar.unit, bar.at) == ("file.bin", len(CONTENT), "bytes", len(CONTENT))
    assert server.ranges(PATH) == [None]


def test_an_empty_file_comes(get: Get, server: BadServer) -> None:
    server.serve(PATH, b"")
    assert get().read_bytes() == b""


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_download_continues_where_it_stopped(
    get: Get, server: BadServer, report: Recorder, reset: bool
) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, cut_after=131_072, reset=reset)
    server.fail(PATH, cut_after=65_536, reset=reset)
    assert get().read_bytes() == CONTENT
    first, second, third = server.asked
    assert first.range is None
    # A reset may lose what lay in the socket, a close loses nothing.
    ranges = [asked.range or "" for asked in (second, third)]
    offsets = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges]
    assert offsets == sorted(offsets)
    if not reset:
        assert offsets == [131_072, 196_608]
    assert {second.condition, third.condition} <= {'"v1"', None}
    assert len(report.said) == 2


def test_cuts_at_any_place_give_the_same_bytes(get: Get, server: BadServer) -> None:
    chance = random.Random(20)
    server.serve(PATH, CONTENT)
    for _ in range(12):
        server.fail(PATH, cut_after=chance.choice([0, 1, 511, 4096, 30_000]), reset=chance.random() < 0.3)
    assert get(patience=Patience(attempts=20, backoff=0.001)).read_bytes() == CONTENT


def test_a_chunked_body_that_is_cut_is_noticed(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT)
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": None}
    server.fail(PATH, chunked=True, headers=chunked, cut_after=100_000)
    server.fail(PATH, chunked=True, headers=chunked, ignore_range=True)
    assert get().read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_again_cleanly(
    get: Get, server: BadServer, report: Recorder
) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, cut_after=100_000)
    server.fail(PATH, ignore_range=True)
    assert get().read_bytes() == CONTENT
    assert "starting again" in report.said[-1]


def test_a_file_that_changed_between_attempts_starts_again(
    get: Get, server: BadServer, part: Path, report: Recorder
) -> None:
    server.serve(PATH, CONTENT)
    _leave_a_part(get, server, part)
    server.serve(PATH, CONTENT[::-1], etag='"v2"')
    assert get().read_bytes() == CONTENT[::-1]
    assert (server.asked[-1].range, server.asked[-1].condition) == ("bytes=100000-", '"v1"')
    assert "starting again" in report.said[-1]


def test_a_changed_file_is_noticed_even_when_if_range_is_ignored(
    get: Get,
    server: BadServer,
    session: requests.Session,
    hasty: Patience,
    tmp_path: Path,
    part: Path,
    report: Recorder,
) -> None:
    server.serve(PATH, CONTENT)
    _leave_a_part(get, server, part)
    server.serve(PATH, CONTENT[::-1], etag='"v2"')
    server.fail(PATH, ignore_condition=True)
    assert get().read_bytes() == CONTENT[::-1]
    assert any("has changed" in line for line in report.said)


def test_the_next_run_continues_what_an_earlier_one_left(get: Get, server: BadServer, part: Path) -> None:
    server.serve(PATH, CONTENT)
    _leave_a_part(get, server, part)
    left = part.stat().st_size
    assert 0 < left < len(CONTENT)
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.ranges(PATH) == [f"bytes={left}-"]


def _leave_a_part(get: Get, server: BadServer, part: Path) -> None:
    server.fail(PATH, cut_after=100_000)
    for _ in range(3):
        server.fail(PATH, status=503)
    refused(get, "503", "4 attempts")
    assert part.is_file()


def test_416_starts_again(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, cut_after=100_000)
    server.fail(PATH, status=416)
    assert get().read_bytes() == CONTENT
    assert server.ranges(PATH) == [None, "bytes=100000-", None]


def test_a_file_that_shrank_below_the_part_starts_again(get: Get, server: BadServer, part: Path) -> None:
    server.serve(PATH, CONTENT, modified=None)
    _leave_a_part(get, server, part)
    server.serve(PATH, b"short", modified=None)
    assert get().read_bytes() == b"short"


def test_a_part_that_is_complete_needs_no_request(get: Get, server: BadServer, part: Path) -> None:
    server.serve(PATH, CONTENT)
    _leave_a_part(get, server, part)
    part.write_bytes(CONTENT)
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_of_another_url_is_not_continued(
    server: BadServer,
    session: requests.Session,
    report: Recorder,
    hasty: Patience,
    tmp_path: Path,
    get: Get,
    part: Path,
) -> None:
    server.serve(PATH, CONTENT)
    _leave_a_part(get, server, part)
    other = server.serve("/other.bin", b"x" * 200_000)
    download(session, other, tmp_path / "in" / "file.bin", report=report, patience=hasty)
    assert server.ranges("/other.bin") == [None]


@pytest.mark.parametrize("note", [b"", b"[]", b'{"url": 1}', b"\xff"])
def test_a_note_that_is_not_ours_is_not_trusted(get: Get, server: BadServer, part: Path, note: bytes) -> None:
    server.serve(PATH, CONTENT)
    part.parent.mkdir()
    part.write_bytes(b"something else")
    part.with_name("file.bin.part.json").write_bytes(note)
    assert get().read_bytes() == CONTENT
    assert server.ranges(PATH) == [None]


def test_a_weak_etag_gives_way_to_the_date(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT, etag='W/"v1"')
    server.fail(PATH, cut_after=100_000)
    get()
    assert server.asked[1].condition == server.files[PATH].modified


def test_without_validators_only_a_published_hash_allows_to_continue(
    get: Get, server: BadServer, tmp_path: Path
) -> None:
    server.serve(PATH, CONTENT, etag=None, modified=None)
    server.fail(PATH, cut_after=100_000)
    get()
    assert server.ranges(PATH) == [None, None]
    server.asked.clear()
    (tmp_path / "in" / "file.bin").unlink()
    server.fail(PATH, cut_after=100_000)
    get(published=Published(size=len(CONTENT), sha256=DIGEST))
    assert server.ranges(PATH) == [None, "bytes=100000-"]


def test_a_length_that_promises_too_much_is_found_out(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT)
    for _ in range(9):
        server.fail(PATH, headers={"Content-Length": "300100"}, ignore_range=True, cut_after=len(CONTENT))
    refused(get, "300,000 of 300,100 bytes", "4 attempts")


def test_a_length_other_than_the_published_one_is_refused_at_once(
    get: Get, server: BadServer, report: Recorder
) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, headers={"Content-Length": "299000"})
    refused(get, "found 299,000", "expected 300,000", published=Published(size=len(CONTENT)))
    assert (len(server.asked), report.bars) == (1, [])


def test_a_body_beyond_the_published_size_stops_there(get: Get, server: BadServer, part: Path) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, chunked=True, headers={"Transfer-Encoding": "chunked", "Content-Length": None})
    refused(get, "more than the 1,000 bytes", published=Published(size=1000))
    assert not part.exists()


def test_a_body_without_a_length_ends_somewhere(
    get: Get, server: BadServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock.weights.download.LARGEST_UNANNOUNCED", 100_000)
    server.serve(PATH, CONTENT)
    server.fail(PATH, chunked=True, headers={"Transfer-Encoding": "chunked", "Content-Length": None})
    refused(get, "more than the 100,000 bytes that are taken of a file without a length")
    assert not part.exists()


def test_a_body_short_of_the_published_size_is_refused(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT, etag=None, modified=None)
    for _ in range(4):
        server.fail(PATH, chunked=True, headers={"Transfer-Encoding": "chunked", "Content-Length": None})
    refused(get, "300,000 of 400,000 bytes", published=Published(size=400_000))


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 100000-399999/300000"},
        {"Content-Range": "bytes 100000-199999/300000"},  # but 200,000 bytes of body
        {"Content-Length": "12x"},
    ],
)
def test_a_range_that_contradicts_itself_is_refused(
    get: Get, server: BadServer, headers: Mapping[str, str]
) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, cut_after=100_000)
    server.fail(PATH, headers=headers)
    with pytest.raises(SourceError):
        get()
    assert len(server.asked) <= 3


@pytest.mark.parametrize(
    "found", ["bytes 0-299999/300000", "bytes 100000-299999/250000", "items 1-2/3", None]
)
def test_a_range_that_does_not_continue_the_file_is_not_appended(
    get: Get, server: BadServer, found: str | None
) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, cut_after=100_000)
    server.fail(PATH, headers={"Content-Range": found})
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("start", [0, 50_000])
def test_another_range_than_asked_for_is_not_appended(get: Get, server: BadServer, start: int) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, cut_after=100_000)
    server.fail(
        PATH,
        status=206,
        body=CONTENT[start:],
        headers={"Content-Range": f"bytes {start}-299999/300000", "ETag": '"v1"'},
    )
    assert get().read_bytes() == CONTENT


def test_wrong_content_is_refused_and_removed(get: Get, server: BadServer, part: Path) -> None:
    server.serve(PATH, CONTENT[::-1])
    found = hashlib.sha256(CONTENT[::-1]).hexdigest()
    refused(get, f"found SHA-256 {found}", f"expected {DIGEST}", published=Published(sha256=DIGEST))
    assert not part.exists()


def test_git_names_content_too(get: Get, server: BadServer) -> None:
    server.serve(PATH, b"hello\n")
    get(published=Published(git_blob="ce013625030ba8dba906f756967f9e9ca394464a"))  # git hash-object
    server.serve(PATH, b"hullo\n")
    refused(get, "git blob", published=Published(git_blob="ce013625030ba8dba906f756967f9e9ca394464a"))


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418])
def test_a_refusal_is_taken_at_once(get: Get, server: BadServer, status: int) -> None:
    server.fail(PATH, status=status)
    refused(get, str(status))
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_waited_out(get: Get, server: BadServer, status: int) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, status=status, headers={"Retry-After": "0"})
    server.fail(PATH, status=status)
    assert get().read_bytes() == CONTENT


def test_a_server_that_never_recovers_is_given_up(get: Get, server: BadServer) -> None:
    for _ in range(9):
        server.fail(PATH, status=503)
    refused(get, "503", "gave up after 4 attempts")
    assert len(server.asked) == 4


IN_AN_HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize("asked", ["3600", IN_AN_HOUR], ids=["seconds", "a date"])
def test_a_wait_beyond_patience_ends_the_attempt(get: Get, server: BadServer, asked: str) -> None:
    server.fail(PATH, status=429, headers={"Retry-After": asked})
    refused(get, "429", "come back in")
    assert len(server.asked) == 1


@pytest.mark.parametrize("asked", ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-5"])
def test_a_past_or_senseless_retry_after_does_not_wait(get: Get, server: BadServer, asked: str) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, status=503, headers={"Retry-After": asked})
    assert get().read_bytes() == CONTENT


def test_nobody_listening_is_given_up_soon(
    session: requests.Session, report: Recorder, hasty: Patience, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"Connection refused; gave up after 2 attempts"):
        download(session, f"http://127.0.0.1:{free_port()}/x", tmp_path / "x", report=report, patience=hasty)
    assert list(tmp_path.iterdir()) == []


def test_a_url_that_is_none_is_a_source_error(
    session: requests.Session, report: Recorder, hasty: Patience, tmp_path: Path
) -> None:
    with pytest.raises(SourceError):
        download(session, "ftp://127.0.0.1/x", tmp_path / "x", report=report, patience=hasty)


def test_a_stall_ends_by_the_read_timeout_and_continues(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, stall_after=131_072)
    assert get(patience=Patience(read=0.5, attempts=4, backoff=0.01)).read_bytes() == CONTENT
    assert server.ranges(PATH)[1] is not None


def test_a_file_larger_than_the_disk_is_refused_before_it_comes(
    get: Get, server: BadServer, part: Path
) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, headers={"Content-Length": str(10**18)}, cut_after=1000)
    with pytest.raises(PreflightError, match=r"found [\d,]+ bytes free, expected 1,000,000,000,000,000,000"):
        get()
    assert part.stat().st_size == 0


def test_compressed_content_is_refused(get: Get, server: BadServer) -> None:
    server.serve(PATH, CONTENT)
    server.fail(PATH, headers={"Content-Encoding": "gzip"})
    refused(get, "gzip")


def test_a_redirect_keeps_the_range(get: Get, server: BadServer) -> None:
    server.serve("/cdn.bin", CONTENT)
    for _ in range(2):
        server.fail(PATH, status=302, headers={"Location": "/cdn.bin"})
    server.fail("/cdn.bin", cut_after=100_000)
    assert get().read_bytes() == CONTENT
    assert server.ranges("/cdn.bin") == [None, "bytes=100000-"]


def test_messages_hold_no_query(
    session: requests.Session, server: BadServer, report: Recorder, hasty: Patience, tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as failure:
        download(session, f"{server.url}/x?signature=secret", tmp_path / "x", report=report, patience=hasty)
    assert "secret" not in failure.value.message


def test_json_is_read_and_anything_else_refused(
    session: requests.Session, server: BadServer, report: Recorder, hasty: Patience
) -> None:
    server.serve_json("/list", {"a": 1})
    server.fail("/list", status=503)
    server.fail("/list", cut_after=3)
    assert read_json(session, f"{server.url}/list", report=report, patience=hasty) == {"a": 1}
    server.serve("/page", b"<html>")
    with pytest.raises(SourceError, match="not JSON"):
        read_json(session, f"{server.url}/page", report=report, patience=hasty)
    with pytest.raises(SourceError, match="404"):
        read_json(session, f"{server.url}/none", report=report, patience=hasty)


def test_space_is_required_in_words(tmp_path: Path) -> None:
    require_room(tmp_path, 0, "nothing")
    with pytest.raises(PreflightError, match="for everything"):
        require_room(tmp_path, 10**18, "everything")
