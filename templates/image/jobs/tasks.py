"""What the tasks of a job do: count its pages, read a range of them, put the ranges together.

A part is the answer of the pipeline API for its pages. A result is a folder: `result.jsonl`, one line a page, and the
files that the pages name, which the answer had as base64.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import parts
from apicalls import Apis
from blobs import Blobs
from database import Row
from failures import Away, Unanswered
from limits import number

RESULT = "result.jsonl"
# Options that /restructure-pages has, too.
OF_WHOLE = (
    "mergeTables",
    "relevelTitles",
    "outputFormats",
    "prettifyMarkdown",
    "showFormulaNumber",
    "returnMarkdownImages",
)
ENDINGS = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"PK\x03\x04", "docx"), (b"RIFF", "webp"))


class Reading:
    """The three kinds of work, on stored documents."""

    def __init__(self, blobs: Blobs, apis: Apis) -> None:
        self._blobs = blobs
        self._apis = apis
        self._per_part = number("JOBS_PAGES_PER_PART", 4)

    async def split(self, task: Row) -> tuple[int, int]:
        """How many pages are asked for, and how many a part has."""
        return await parts.count(self._blobs.path(task["document"]), task["page_ranges"]), self._per_part

    async def read(self, task: Row) -> str:
        """The key of a part."""
        path, ranges = self._blobs.path(task["document"]), task["page_ranges"]
        first, last = task["page_from"], task["page_to"]
        options = dict(task["options"])
        whole = not ranges and (first, last) == (1, task["pages"])
        data = None if whole else await parts.cut(path, ranges, first, last)
        if data is None:
            data = await asyncio.to_thread(path.read_bytes)
        elif options.pop("restructurePages", False):
            options.pop("outputFormats", None)
        encoded = await asyncio.to_thread(lambda: base64.b64encode(data).decode())
        result = await self._apis.ask("/layout-parsing", {**options, "file": encoded})
        if len(result["layoutParsingResults"]) != last - first + 1:
            raise Unanswered(
                f"the pipeline API gave {len(result['layoutParsingResults'])} pages, expected {last - first + 1}"
            )
        key = f"parts/{task['job_id']}/{task['seq']}.{task['epoch']}"
        await self._store(key, json.dumps(result, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        return key

    async def join(self, task: Row, parts: list[str]) -> str:
        """The folder of the result, from the keys of all parts in order."""
        whole = None
        if len(parts) > 1 and task["options"].get("restructurePages"):
            whole = await self._restructured(task["options"], parts)
        key = f"results/{task['job_id']}.{task['epoch']}"
        await asyncio.to_thread(self._blobs.remove, key)  # of a claim whose answer was lost
        info = await asyncio.to_thread(lambda: joined_info([self._part(part).get("dataInfo") for part in parts]))
        try:
            await asyncio.to_thread(self._write, key, parts, whole, info)
        except OSError as wrong:
            raise _full(wrong) from wrong
        return key

    async def ended(self, job: uuid.UUID) -> None:
        """Remove the parts of a job that is done; what stays behind is tidied up later."""
        await asyncio.to_thread(self._blobs.remove, f"parts/{job}")

    async def _restructured(self, options: dict[str, Any], parts: list[str]) -> list[dict[str, Any]]:
        pictures = bool(options.get("outputFormats"))  # only then does it need them

        def asked() -> list[dict[str, Any]]:
            return [
                {
                    "prunedResult": page["prunedResult"],
                    **({"markdownImages": page["markdown"].get("images") or {}} if pictures else {}),
                }
                for part in parts
                for page in self._part(part)["layoutParsingResults"]
            ]

        chosen = {name: options[name] for name in OF_WHOLE if options.get(name) is not None}
        pages = await asyncio.to_thread(asked)
        result = await self._apis.ask("/restructure-pages", {**chosen, "pages": pages})
        joined: list[dict[str, Any]] = result["layoutParsingResults"]
        if len(joined) != len(pages):
            raise Unanswered(f"the pipeline API joined {len(joined)} pages, expected {len(pages)}")
        return joined

    def _part(self, key: str) -> dict[str, Any]:
        part: dict[str, Any] = json.loads(self._blobs.read(key))
        return part

    def _write(self, key: str, parts: list[str], whole: list[dict[str, Any]] | None, info: dict[str, Any]) -> None:
        pages = (page for part in parts for page in self._part(part)["layoutParsingResults"])
        with self._blobs.writing(f"{key}/{RESULT}") as lines:
            for count, page in enumerate(pages, 1):
                if whole is not None:
                    page["prunedResult"] = whole[count - 1]["prunedResult"]
                    page["markdown"]["text"] = whole[count - 1]["markdown"]["text"]
                    page["exports"] = whole[count - 1].get("exports")
                files = Files(self._blobs, key, f"page-{count:04}")
                with_files(page, files.store)
                said = {name: value for name, value in page.items() if value is not None}
                line = {"result": {"layoutParsingResults": [said], "dataInfo": info if count == 1 else {}}}
                lines.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

    async def _store(self, key: str, data: bytes) -> None:
        try:
            await asyncio.to_thread(self._blobs.put, key, data)
        except OSError as wrong:
            raise _full(wrong) from wrong


class Files:
    """Stores the files of one page."""

    def __init__(self, blobs: Blobs, folder: str, prefix: str) -> None:
        self._blobs = blobs
        self._folder = folder
        self._prefix = prefix
        self._count = 0

    def store(self, encoded: str) -> str:
        """The name of a file with what the base64 stands for; a link, or what is no base64, stays as it is."""
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return encoded
        self._count += 1
        ending = next((ending for start, ending in ENDINGS if data.startswith(start)), "bin")
        name = f"{self._prefix}-{self._count}.{ending}"
        self._blobs.put(f"{self._folder}/{name}", data)
        return name


def with_files(page: dict[str, Any], changed: Callable[[str], str]) -> None:
    """Change each value of a page that is a file: pictures of its Markdown, drawn ones, Word documents."""
    for holder in _holders(page):
        for name, value in holder.items():
            if isinstance(value, str):
                holder[name] = changed(value)
    if isinstance(page.get("inputImage"), str):
        page["inputImage"] = changed(page["inputImage"])
    for export in (page.get("exports") or {}).values():
        if isinstance(export, dict) and isinstance(export.get("content"), str):
            export["content"] = changed(export["content"])


def _holders(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (page.get("markdown", {}).get("images"), page.get("outputImages")):
        if isinstance(holder, dict):
            yield holder


def joined_info(infos: list[Any]) -> dict[str, Any]:
    """PaddleX's `dataInfo` of the whole document, from those of its parts."""
    known = [info for info in infos if isinstance(info, dict)]
    if len(known) == 1:
        return dict(known[0])
    pages = [
        page
        for info in known
        for page in info.get("pages", [{"width": info.get("width"), "height": info.get("height")}])
    ]
    kind = next((info["type"] for info in known if info.get("type") != "image"), "tiff")
    return {"numPages": len(pages), "pages": pages, "type": kind}


def _full(wrong: OSError) -> Exception:
    if wrong.errno in (errno.ENOSPC, errno.EDQUOT):
        return Away("the disk for results is full", after=30)
    return wrong
