"""The folder that a document becomes: its files and links, and when it is made again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from paddock.errors import UnhealthyError
from paddock.parse.results import page_folder
from pipeline_api import (
    IMAGE_NAME,
    Command,
    Faults,
    Maker,
    PipelineApi,
    Work,
    encoded,
    error_of,
    jpeg,
    names_below,
    statuses,
)


def test_what_a_document_becomes(work: Work, make: Maker, tmp_path: Path, api: PipelineApi) -> None:
    make.pdf("a.pdf", pages=2)
    assert statuses(work("a.pdf")) == ["done"]
    folder = tmp_path / "out" / "a.pdf"
    assert names_below(folder) == [
        ".paddock.json",
        "document.json",
        "document.md",
        f"pages/001/{IMAGE_NAME}",
        "pages/001/layout.jpg",
        "pages/001/page.md",
        f"pages/002/{IMAGE_NAME}",
        "pages/002/layout.jpg",
        "pages/002/page.md",
    ]
    markdown = (folder / "document.md").read_text()
    assert markdown.index("# Page 1") < markdown.index("# Page 2")
    assert "</div>\n\n# Page 2\n" in markdown


def test_every_link_resolves_to_its_own_page(work: Work, make: Maker, tmp_path: Path) -> None:
    make.pdf("a.pdf", pages=2)
    work("a.pdf")
    folder = tmp_path / "out" / "a.pdf"
    for markdown in (folder / "document.md", folder / "pages/001/page.md", folder / "pages/002/page.md"):
        links = re.findall(r'src="([^"]+)"', markdown.read_text())
        assert links
        assert all((markdown.parent / link).is_file() for link in links)
    first, second = re.findall(r'src="([^"]+)"', (folder / "document.md").read_text())
    assert (folder / first).read_bytes() != (folder / second).read_bytes()


def test_only_links_are_rewritten(
    work: Work, make: Maker, tmp_path: Path, api: PipelineApi, faults: type[Faults]
) -> None:
    entry = api.page(1, pictures=False)
    entry["markdown"]["text"] = (
        f"![](<{IMAGE_NAME}>) ![x]({IMAGE_NAME}) the file {IMAGE_NAME} and ![]({IMAGE_NAME}x)"
    )
    result = {"layoutParsingResults": [entry], "dataInfo": {"type": "image"}}
    api.answer = faults.says(200, {"errorCode": 0, "result": result})
    make.image("a.png")
    work("a.png")
    at = f"pages/001/{IMAGE_NAME}"
    text = (tmp_path / "out" / "a.png" / "document.md").read_text()
    assert text == f"![](<{at}>) ![x]({at}) the file {IMAGE_NAME} and ![]({IMAGE_NAME}x)\n"


def test_the_json_has_paths_instead_of_base64(work: Work, make: Maker, tmp_path: Path) -> None:
    make.image("a.png")
    work("a.png")
    folder = tmp_path / "out" / "a.png"
    found = json.loads((folder / "document.json").read_text())
    (page,) = found["layoutParsingResults"]
    assert found["dataInfo"] == {"type": "image", "width": 8, "height": 8}
    assert page["prunedResult"]["parsing_res_list"] == [{"block_id": 0}]
    assert page["markdown"]["images"] == {IMAGE_NAME: f"pages/001/{IMAGE_NAME}"}
    assert page["outputImages"] == {"layout_det_res": "pages/001/layout.jpg"}
    assert "inputImage" not in page


def test_page_folders_sort_beyond_999() -> None:
    assert page_folder(1, 999) == "pages/001"
    names = [page_folder(number, 1000) for number in range(1, 1001)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "/etc/evil.jpg",
        "imgs/../../evil.jpg",
        "imgs\\evil.jpg",
        ".paddock.json",
        "",
        "a//b.jpg",
        "a\0b",
    ],
)
def test_an_image_name_that_would_leave_the_folder(
    work: Work, make: Maker, tmp_path: Path, api: PipelineApi, faults: type[Faults], name: str
) -> None:
    entry = api.page(1, pictures=False)
    entry["markdown"]["images"] = {name: ""}
    api.answer = faults.says(
        200, {"errorCode": 0, "result": {"layoutParsingResults": [entry], "dataInfo": {}}}
    )
    make.image("a.png")
    summary = work("a.png")
    assert "named an image" in error_of(summary).message
    assert isinstance(summary.failure(), UnhealthyError)
    assert names_below(tmp_path) == ["a.png"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("index.html", jpeg(), "a name that ends in .jpg or .png"),
        ("run.desktop", jpeg(), "a name that ends in .jpg or .png"),
        ("a.jpg.exe", jpeg(), "a name that ends in .jpg or .png"),
        ("a.svg", b"<svg>", "a name that ends in .jpg or .png"),
        ("a.jpg", b"<script>", "the bytes of a JPEG or PNG image"),
        ("a.png", b"", "the bytes of a JPEG or PNG image"),
    ],
)
@pytest.mark.parametrize("key", ["images", "outputImages"])
def test_only_images_are_written(
    work: Work, make: Maker, tmp_path: Path, api: PipelineApi, name: str, data: bytes, expected: str, key: str
) -> None:
    entry = api.page(1, pictures=True)
    holder = entry["markdown"] if key == "images" else entry
    holder[key] = {name: encoded(data)}
    api.answer = Faults.says(
        200, {"errorCode": 0, "result": {"layoutParsingResults": [entry], "dataInfo": {}}}
    )
    make.image("a.png")
    summary = work("a.png")
    if key == "outputImages" and data == jpeg():  # these are named by us
        assert statuses(summary) == ["done"]
        assert (tmp_path / f"out/a.png/pages/001/{name}.jpg").is_file()
        return
    assert expected in error_of(summary).message or "the bytes of a JPEG or PNG" in error_of(summary).message
    assert list((tmp_path / "out").iterdir()) == []


def test_markdown_without_html(command: Command, make: Maker, tmp_path: Path, api: PipelineApi) -> None:
    make.pdf("a.pdf", pages=2)
    assert command("a.pdf") == 0
    folder = tmp_path / "out" / "a.pdf"
    assert "<img" in (folder / "document.md").read_text()
    assert command("a.pdf", "--plain-markdown") == 0
    assert len(api.requests) == 2  # made again
    for page, place in ((folder, "pages/002/"), (folder / "pages/002", "")):
        text = (page / ("page.md" if not place else "document.md")).read_text()
        assert "<" not in text
        assert f"![Image]({place}{IMAGE_NAME})" in text
    assert (
        "<img"
        in json.loads((folder / "document.json").read_text())["layoutParsingResults"][0]["markdown"]["text"]
    )
    assert command("a.pdf", "--plain-markdown") == 0
    assert len(api.requests) == 2


def test_names_that_are_not_utf8_and_very_long(
    command: Command, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    long = "x" * 251 + ".png"
    make.image(odd)
    make.image(long)
    assert command(odd, long, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["documents"][0]["source"] == "caf\ufffd.png"
    assert (tmp_path / "out" / odd / "document.md").is_file()
    assert (tmp_path / "out" / long / "document.md").is_file()


def test_no_pictures(command: Command, make: Maker, tmp_path: Path) -> None:
    make.image("a.png")
    assert command("a.png", "--no-pictures", "--restructure") == 0
    assert "pages/001/layout.jpg" not in names_below(tmp_path / "out" / "a.png")


# --- made again ---------------------------------------------------------------------------------------------


def test_finished_documents_are_not_sent_again(work: Work, make: Maker, api: PipelineApi) -> None:
    make.image("a.png")
    make.pdf("b.pdf", pages=3)
    assert statuses(work("a.png")) == ["done"]
    again = work("a.png", "b.pdf")
    assert statuses(again) == ["skipped", "done"]
    assert [outcome.result.pages for outcome in again.outcomes if outcome.result] == [1, 3]
    assert len(api.requests) == 2
    os.utime("a.png", (1, 1))  # another time, the same bytes
    assert statuses(work("a.png", "b.pdf")) == ["skipped", "skipped"]


def test_a_changed_document_is_sent_again(work: Work, make: Maker, tmp_path: Path) -> None:
    make.pdf("a.pdf", pages=3)
    work("a.pdf")
    make.pdf("a.pdf", pages=1)
    assert statuses(work("a.pdf")) == ["done"]
    assert [path.name for path in (tmp_path / "out/a.pdf/pages").iterdir()] == ["001"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.pdf"]


def test_other_options_a_lost_file_and_force_send_it_again(work: Work, make: Maker, tmp_path: Path) -> None:
    make.image("a.png")
    work("a.png")
    assert statuses(work("a.png", restructure=True)) == ["done"]
    assert statuses(work("a.png", restructure=True)) == ["skipped"]
    (tmp_path / "out/a.png/pages/001/page.md").unlink()
    assert statuses(work("a.png", restructure=True)) == ["done"]
    assert statuses(work("a.png", restructure=True, force=True)) == ["done"]


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": 1}', "\0"])
def test_a_folder_that_is_not_ours_is_not_touched(
    work: Work, make: Maker, tmp_path: Path, record: str, api: PipelineApi
) -> None:
    make.image("a.png")
    mine = make.data("out/a.png/precious.txt", b"mine")
    make.data("out/a.png/.paddock.json", record.encode())
    summary = work("a.png")
    assert "was not written by `paddock parse`" in error_of(summary).message
    assert mine.read_bytes() == b"mine"
    assert api.requests == []


def test_leftovers_of_a_killed_run_go_away(work: Work, make: Maker, tmp_path: Path) -> None:
    make.image("a.png")
    work("a.png")
    tag = hashlib.sha256(b"a.png").hexdigest()[:16]
    for kind in ("partial", "older"):
        make.data(f"out/.{kind}-{tag}/document.md", b"half")
    assert statuses(work("a.png", force=True)) == ["done"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_failed_document_keeps_its_older_result(
    work: Work, make: Maker, tmp_path: Path, api: PipelineApi, faults: type[Faults]
) -> None:
    make.image("a.png")
    work("a.png")
    before = (tmp_path / "out/a.png/document.md").read_bytes()
    api.answer = faults.fails(500, "Internal server error")
    assert statuses(work("a.png", force=True)) == ["failed"]
    assert (tmp_path / "out/a.png/document.md").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
