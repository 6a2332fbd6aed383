"""Pages of a result, and the files that they name."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from blobs import Blobs
from tasks import Files, joined_info, with_files

A4, A5 = {"width": 1190, "height": 1684}, {"width": 840, "height": 1190}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_files_of_a_page_get_names(tmp_path: Path) -> None:
    page: dict[str, Any] = {
        "markdown": {"text": "a", "images": {"imgs/../../x.jpg": encoded(b"\xff\xd8\xff1")}},
        "outputImages": {"layout": encoded(b"\x89PNG2"), "none": None},
        "inputImage": encoded(b"?"),
        "exports": {"docx": {"content": encoded(b"PK\x03\x043"), "fileName": "a.docx"}},
        "prunedResult": {"images": {"text": "QUFB"}},
    }
    with_files(page, Files(Blobs(tmp_path), "results/a.1", "page-0007").store)
    assert page["markdown"]["images"] == {"imgs/../../x.jpg": "page-0007-1.jpg"}
    assert page["outputImages"] == {"layout": "page-0007-2.png", "none": None}
    assert page["inputImage"] == "page-0007-3.bin"
    assert page["exports"]["docx"]["content"] == "page-0007-4.docx"
    assert page["prunedResult"] == {"images": {"text": "QUFB"}}
    assert (tmp_path / "results/a.1/page-0007-4.docx").read_bytes() == b"PK\x03\x043"
    assert len(list((tmp_path / "results/a.1").iterdir())) == 4


def test_what_is_no_base64_stays(tmp_path: Path) -> None:
    page: dict[str, Any] = {"markdown": {"text": "", "images": {"a": "https://a.example/b.png"}}}
    with_files(page, Files(Blobs(tmp_path), "results/a.1", "page-0001").store)
    assert page["markdown"]["images"] == {"a": "https://a.example/b.png"}


@pytest.mark.parametrize(
    ("infos", "joined"),
    [
        ([{"type": "image", **A4}], {"type": "image", **A4}),
        (
            [
                {
                    "type": "pdf",
                    "numPages": 2,
                    "pages": [{"width": 1, "height": 2}, {"width": 3, "height": 4}],
                },
                {"type": "pdf", "numPages": 1, "pages": [{"width": 5, "height": 6}]},
            ],
            {
                "type": "pdf",
                "numPages": 3,
                "pages": [{"width": 1, "height": 2}, {"width": 3, "height": 4}, {"width": 5, "height": 6}],
            },
        ),
        (
            [{"type": "image", **A4}, {"type": "image", **A5}],
            {"type": "tiff", "numPages": 2, "pages": [A4, A5]},
        ),
    ],
)
def test_sizes_of_the_parts_are_those_of_the_document(infos: list[Any], joined: dict[str, Any]) -> None:
    assert joined_info(infos) == joined
