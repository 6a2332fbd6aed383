"""Works on documents piece by piece with PaddleX's pipeline, and puts the answers together as PaddleX's serving does.

A piece is a few pages. Between two pieces of a document others have their turn, and only what is worked on is held as
pixels. The form of requests and answers is PaddleX's (3.7.2, inference/serving/schemas/paddleocr_vl.py and
basic_serving/_pipeline_apps/paddleocr_vl.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import cutting
import decoder
import links
import options
import problems
from documents import Document, Reader
from limits import Limits, Refusal
from problems import Problem, noted
from reading import Size, Unreadable
from turns import Budget, Request, Turns, here, working_for

PIECES_AT_ONCE = 3  # of a document: layouts are found while the VLM server reads, and its batches stay full
PAGES = {"cpu": 2}  # of a piece, by device: small where one page takes long, so that others need not wait
MOST_PAGES = 8
NAME = "{key}"  # of a picture, in PaddleX's templates of names
WEIGHTS = {"orientation": "PP-LCNet_x1_0_doc_ori", "unwarping": "UVDoc"}
MOST_REASONS = 3  # of pages that failed, in one message
Answer = list[bytes]
log = logging.getLogger("uvicorn.error")


class Parser:
    """The two operations of the pipeline API."""

    def __init__(
        self,
        pipeline: Any,
        configuration: dict[str, Any],
        *,
        limits: Limits,
        allowed: links.Allowed,
        reader: Reader,
        device: str,
        preprocessors: list[str],
        preprocesses: bool,
    ) -> None:
        import schemas  # loads PaddleX

        self._pipeline = pipeline
        self._limits = limits
        self._allowed = allowed
        self._reader = reader
        self._schemas = schemas
        self._pages_at_once = PAGES.get(device.partition(":")[0], MOST_PAGES)
        self._threads = ThreadPoolExecutor(limits.parallel_requests + 2, "piece")
        self._turns = Turns(limits.parallel_requests)
        self._pixels = Budget(limits.max_pixels)
        serving = configuration.get("Serving") or {}
        self._visualize = bool(serving.get("visualize", True))
        self._largest_picture = tuple((serving.get("extra") or {}).get("max_output_img_size") or (2000, 2000))
        # PaddleX's pipeline is wrapped for several devices; the inner one names what it takes.
        self._parameters = inspect.signature(pipeline._pipeline.predict).parameters
        self._preprocessors = preprocessors
        self._preprocesses = preprocesses

    # --- /layout-parsing ------------------------------------------------------------------------------------

    async def layout_parsing(self, request: Request, body: bytes) -> Answer:
        """Read a document: the whole answer."""
        read = await self._run(options.read_json, body)
        del body
        request.log_id = options.log_id_of(read)
        file = read.pop("file", None)
        asked = await self._run(self._validated, self._schemas.InferRequest, {**read, "file": ""})
        settings = self._settings(asked)
        data = await self._document(file)
        del read, file
        async with contextlib.AsyncExitStack() as stack:
            async with self._turns.held_in_loop(request):
                document = await stack.enter_async_context(self._reader.opened(data))
            del data
            if asked.fileType is not None and (document.kind == "pdf") is not (asked.fileType == 0):
                raise Refusal(
                    422, f"fileType: found {asked.fileType}, and a document that is a {document.kind.upper()}"
                )
            pages, info = await self._pages(request, document, asked, settings)
        require_some(pages)
        if asked.restructurePages:
            with request.timed("restructure"):
                pages = await self._run(self._restructured, request, pages, asked)
        return wrapped(request.log_id, [page.encoded for page in pages], info)

    async def _document(self, file: Any) -> bytes:
        if file is None:
            raise Refusal(422, "file: is missing, expected a document as base64")
        if isinstance(file, str) and links.is_link(file):
            return await links.fetch(file, self._allowed, self._limits.max_bytes)
        data: bytes = await self._run(options.bytes_of, file, "file", self._limits.max_bytes)
        return data

    async def _pages(
        self, request: Request, document: Document, asked: Any, settings: dict[str, Any]
    ) -> tuple[list[Page], dict[str, Any]]:
        pieces = list(pieces_of(document.sizes, self._pages_at_once, self._limits.max_pixels // 4))
        done: list[list[Page]] = [[] for _ in pieces]
        own = asyncio.Semaphore(PIECES_AT_ONCE)

        async def work(number: int, first: int, last: int) -> None:
            area = sum(width * height for width, height in document.sizes[first:last])
            async with own, self._pixels.held(area), self._turns.held_in_loop(request):
                with request.timed("draw"):
                    images = dict(enumerate(await document.pages(first, last), first))
                with request.timed("read"):
                    done[number] = await self._run(self._read, request, document, images, asked, settings)
                request.pages += len(images)

        tasks = [asyncio.ensure_future(work(number, *piece)) for number, piece in enumerate(pieces)]
        try:
            for task in tasks:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        pages = [page for piece in done for page in piece]
        sizes = [{"width": width, "height": height} for width, height in (page.size for page in pages)]
        if document.kind in ("pdf", "tiff") and (document.kind == "pdf" or len(pages) > 1):
            return pages, {"numPages": len(pages), "pages": sizes, "type": document.kind}
        return pages, {**sizes[0], "type": "image"}

    def _read(
        self,
        request: Request,
        document: Document,
        images: dict[int, np.ndarray[Any, Any] | str],
        asked: Any,
        settings: dict[str, Any],
    ) -> list[Page]:
        """In a thread: have the pipeline read some pages, by their numbers; a page may be the reason why it is none."""
        if request.over:
            return []
        readable = {number: image for number, image in images.items() if not isinstance(image, str)}
        with working_for(request):
            bounds = [document.bounds[number] for number in readable]
            read = iter(self._predicted(request, list(readable.values()), bounds, settings))
        pages = []
        for number, image in images.items():
            if isinstance(image, str):
                outcome = Outcome(problems=[Problem("unreadable", "failed", image)])
            else:
                outcome = next(read)
            if outcome.result is None:
                outcome.result = self._nothing(document.sizes[number], settings)
            pages.append(self._page(request, outcome, number, asked))
        return pages

    def _predicted(
        self, request: Request, images: list[np.ndarray[Any, Any]], bounds: list[int], settings: dict[str, Any]
    ) -> list[Outcome]:
        """What PaddleX makes of each page; one that it cannot read alone has no result."""
        if not images:
            return []
        noted.begin()
        cutting.bounds.left = bounds
        try:
            results = list(self._pipeline.predict(images, use_queues=False, **settings))
        except Exception as wrong:
            if request.over or is_of_server(wrong):
                raise
            if len(images) > 1:
                alone = zip(images, bounds)  # noqa: B905
                return [one for image, bound in alone for one in self._predicted(request, [image], [bound], settings)]
            log.exception("a page cannot be read")
            told = f"the page cannot be read ({type(wrong).__name__}: {wrong})"
            return [Outcome(problems=[Problem("failed", "failed", told)])]
        for result in results:
            if isinstance(result, dict) and result.keys() == {"error"}:
                raise Refusal(422, str(result["error"]))
        found = []
        for number, (image, result) in enumerate(zip(images, results)):  # noqa: B905
            texts = [block.content for block in result["parsing_res_list"]]
            troubles = problems.problems_of(image, texts, noted.of_page(number))
            found.append(Outcome(image=image, result=result, problems=troubles))
        return found

    def _nothing(self, size: Size, settings: dict[str, Any]) -> Any:
        """PaddleX's result of a page on which nothing was found."""
        from paddlex.inference.pipelines.paddleocr_vl.result import PaddleOCRVLResult

        asked = self._pipeline._pipeline.get_model_settings
        model_settings = asked(**{name: settings.get(name) for name in inspect.signature(asked).parameters})
        nothing: dict[str, Any] = {"input_path": None, "page_index": None, "page_count": None}
        nothing |= {"width": size[0], "height": size[1], "model_settings": model_settings}
        nothing |= {"layout_det_res": {"boxes": []}, "doc_preprocessor_res": {}, "spotting_res": {}}
        return PaddleOCRVLResult(nothing | {"table_res_list": [], "parsing_res_list": [], "imgs_in_doc": []})

    def _page(self, request: Request, outcome: Outcome, number: int, asked: Any) -> Page:
        from paddlex.inference.serving.basic_serving._pipeline_apps._common import common

        image, result = outcome.image, outcome.result
        pictures = {"log_id": request.log_id, "max_img_size": self._largest_picture}
        markdown = result._to_markdown(pretty=asked.prettifyMarkdown, show_formula_number=asked.showFormulaNumber)
        entry: dict[str, Any] = {
            "prunedResult": common.prune_result(result.json["res"]),
            "markdown": {"text": markdown["markdown_texts"], "images": None},
        }
        if outcome.problems:
            entry["problems"] = [problem.said() for problem in outcome.problems]
        if returns_pictures(asked):
            template = f"markdown_{number}/" + NAME
            images = common.postprocess_images(markdown["markdown_images"], filename_template=template, **pictures)
            entry["markdown"]["images"] = images
        if image is not None and (self._visualize if asked.visualize is None else asked.visualize):
            drawn = {"input_img": image, **result.img}
            shown = common.postprocess_images(drawn, filename_template=f"{NAME}_{number}.jpg", **pictures)
            entry["inputImage"] = shown.pop("input_img")
            entry["outputImages"] = shown
        if asked.outputFormats and not asked.restructurePages:  # else once the pages are joined
            entry["exports"] = exports(result, asked.outputFormats, request.log_id)
        size = (image.shape[1], image.shape[0]) if image is not None else (result["width"], result["height"])
        failed = "; ".join(problem.message for problem in outcome.problems if problem.severity == "failed")
        return Page(self._schemas, entry, size=size, kept=asked.restructurePages, failed=failed)

    def _settings(self, asked: Any) -> dict[str, Any]:
        """What the pipeline is to be told: PaddleX's own names for the options of the request."""
        given = asked.model_dump()
        for option, model in (("useDocOrientationClassify", "orientation"), ("useDocUnwarping", "unwarping")):
            if given.get(option) and model not in self._preprocessors:
                raise Refusal(
                    422,
                    f"{option}: the weights {WEIGHTS[model]} are not in /models, or cannot be loaded, so this stack "
                    "cannot do it: `paddock models fetch MODEL` brings them, a restart of the container api loads them",
                )
            if given.get(option) is None and not self._preprocesses:
                given[option] = False  # the models may be loaded for those who ask for them
        if given.get("useLayoutDetection") is not False and given.get("promptLabel") is not None:
            given["promptLabel"] = None  # PaddleX reads it only without layout detection
        limited = options.within_limits(given)
        named = {snake_case(name): value for name, value in limited.items()}
        return {name: value for name, value in named.items() if name in self._parameters}

    # --- /restructure-pages ---------------------------------------------------------------------------------

    async def restructure_pages(self, request: Request, body: bytes) -> Answer:
        """Join pages that were read before: tables over pages, levels of titles, one document."""
        read = await self._run(options.read_json, body)
        del body
        request.log_id = options.log_id_of(read)
        asked = await self._run(self._validated, self._schemas.RestructurePagesRequest, read)
        if not asked.pages or len(asked.pages) > self._limits.max_pages:
            raise Refusal(
                422, f"pages: found {len(asked.pages)}, expected 1 to {self._limits.max_pages} (API_MAX_PAGES)"
            )
        try:
            async with self._turns.held_in_loop(request):
                entries = await self._run(self._joined, request, asked)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as wrong:
            found = f"{type(wrong).__name__}: {wrong}"[:200]
            raise Refusal(422, f"pages: found what /layout-parsing does not give ({found})") from wrong
        return wrapped(request.log_id, entries, None)

    def _joined(self, request: Request, asked: Any) -> list[bytes]:
        pictures = [page.markdownImages or {} for page in asked.pages]
        for of_page in pictures if asked.outputFormats else []:
            require_pictures(of_page, self._limits)
        together = {name: picture for of_page in pictures for name, picture in of_page.items()}
        joined = self._restructure(
            [page.prunedResult for page in asked.pages], asked, concatenate=asked.concatenatePages
        )
        entries = []
        for number, result in enumerate(joined):
            of_page = together if asked.concatenatePages else pictures[number]
            of_entry = asked.pages if asked.concatenatePages else [asked.pages[number]]
            entry = self._text_again(result, asked)
            entry["markdown"]["images"] = of_page if returns_pictures(asked) else None
            if asked.outputFormats:
                refill(result, of_page)
                entry["exports"] = exports(result, asked.outputFormats, request.log_id)
            if found := [problem for page in of_entry for problem in page.problems or []]:
                entry["problems"] = [problem.model_dump() for problem in found]
            entries.append(Page(self._schemas, entry, kept=False).encoded)
        return entries

    def _restructured(self, request: Request, pages: list[Page], asked: Any) -> list[Page]:
        """The pages of a document, restructured as /restructure-pages does it."""
        joined = self._restructure([page.entry["prunedResult"] for page in pages], asked, concatenate=False)
        made = []
        for page, result in zip(pages, joined):  # noqa: B905
            entry = {**page.entry, **self._text_again(result, asked)}
            entry["markdown"]["images"] = page.entry["markdown"]["images"]
            if asked.outputFormats:
                refill(result, entry["markdown"]["images"] or {})
                entry["exports"] = exports(result, asked.outputFormats, request.log_id)
            made.append(Page(self._schemas, entry, size=page.size, kept=False))
        return made

    def _restructure(self, pruned: Sequence[Any], asked: Any, *, concatenate: bool) -> list[Any]:
        pages = [{"res": {**page, "input_path": "", "page_index": number}} for number, page in enumerate(pruned)]
        return list(
            self._pipeline.restructure_pages(
                pages,
                merge_tables=asked.mergeTables,
                relevel_titles=asked.relevelTitles,
                concatenate_pages=concatenate,
            )
        )

    def _text_again(self, result: Any, asked: Any) -> dict[str, Any]:
        from paddlex.inference.serving.basic_serving._pipeline_apps._common import common

        markdown = result._to_markdown(pretty=asked.prettifyMarkdown, show_formula_number=asked.showFormulaNumber)
        pruned = common.prune_result(result.json["res"])
        return {"prunedResult": pruned, "markdown": {"text": markdown["markdown_texts"]}}

    # --- both -----------------------------------------------------------------------------------------------

    def _validated(self, schema: Any, read: dict[str, Any]) -> Any:
        from pydantic import ValidationError

        try:
            asked = schema.model_validate(options.with_texts(read))
            if asked.outputFormats and importlib.util.find_spec("docx") is None:
                raise Refusal(422, "outputFormats: this image holds no python-docx, which Word documents need")
            return asked
        except (ValidationError, RecursionError) as wrong:
            errors = (
                wrong.errors(include_url=False, include_input=False, include_context=False)
                if hasattr(wrong, "errors")
                else []
            )
            told = [
                {"type": error["type"], "loc": ".".join(map(str, error["loc"])), "msg": error["msg"]}
                for error in errors[:20]
            ]
            raise Refusal(422, json.dumps(told, ensure_ascii=False) if told else "nested too deeply") from wrong

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


@dataclass
class Outcome:
    """A page as PaddleX's pipeline leaves it."""

    image: np.ndarray[Any, Any] | None = None  # (height, width, BGR)
    result: Any = None
    problems: list[Problem] = field(default_factory=list)


class Page:
    """A page of the answer: encoded at once, and as objects only where it is needed again."""

    def __init__(
        self, schemas: Any, entry: dict[str, Any], *, size: Size = (0, 0), kept: bool, failed: str = ""
    ) -> None:
        self.size = size  # in pixels
        self.failed = failed  # why there is nothing; empty where it was read
        self.entry = entry if kept else {}
        self.encoded = b"" if kept else schemas.LayoutParsingResult(**entry).model_dump_json(exclude_none=True).encode()


def require_some(pages: Sequence[Page]) -> None:
    """Refuse a document of which no page could be read."""
    reasons = list(dict.fromkeys(page.failed for page in pages))
    if pages and all(reasons):
        more = f" (and {len(reasons) - MOST_REASONS} reasons more)" if len(reasons) > MOST_REASONS else ""
        raise Refusal(422, "; ".join(reasons[:MOST_REASONS]) + more)


def is_of_server(wrong: Exception) -> bool:
    """Whether a failure is the VLM server's, and says nothing about the page: it is away, or failed inside."""
    import openai

    return isinstance(wrong, openai.APIConnectionError) or (
        isinstance(wrong, openai.APIStatusError) and wrong.status_code not in (400, 413, 422)
    )


def pieces_of(sizes: Sequence[Size], most: int, area: int) -> Iterable[tuple[int, int]]:
    """First page and the one after the last of each piece: `most` pages and `area` pixels unless one page has more."""
    first, held = 0, 0
    for number, (width, height) in enumerate(sizes):
        if number > first and (number - first == most or held + width * height > area):
            yield first, number
            first, held = number, 0
        held += width * height
    if first < len(sizes):
        yield first, len(sizes)


def preprocessors(configuration: dict[str, Any]) -> list[str]:
    """Which of orientation and unwarping have their weights here."""
    modules = configuration["SubPipelines"]["DocPreprocessor"]["SubModules"]
    folders = {"orientation": modules["DocOrientationClassify"], "unwarping": modules["DocUnwarping"]}
    return [
        name for name, module in folders.items() if (Path(module.get("model_dir") or "") / "inference.yml").is_file()
    ]


def snake_case(name: str) -> str:
    """`useDocUnwarping` as `use_doc_unwarping`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def returns_pictures(asked: Any) -> bool:
    """Whether the pictures in Markdown are wanted (an option since PaddleX 3.7)."""
    return bool(getattr(asked, "returnMarkdownImages", True))


def wrapped(log_id: str, pages: list[bytes], info: dict[str, Any] | None) -> Answer:
    """PaddleX's form of a result around the pages."""
    head = b'{"logId":%b,"result":{"layoutParsingResults":[' % json.dumps(log_id, ensure_ascii=False).encode()
    tail = b"]" if info is None else b'],"dataInfo":%b' % json.dumps(info, separators=(",", ":")).encode()
    answer = [head]
    for number, page in enumerate(pages):
        answer += [b","] * bool(number) + [page]
    return [*answer, tail + b'},"errorCode":0,"errorMsg":"Success"}']


def exports(result: Any, formats: list[str], log_id: str) -> Any:
    """Word documents, by PaddleX's exporter."""
    from paddlex.inference.serving.app_shared.document_export import build_pipeline_exports

    return build_pipeline_exports(formats, result, log_id=log_id)


def refill(result: Any, pictures: dict[str, str]) -> None:
    """Put pictures back into blocks; `require_pictures` has looked at what came from outside."""
    from paddlex.inference.serving.app_shared.document_export import refill_paddleocr_vl_images_from_markdown

    refill_paddleocr_vl_images_from_markdown(result, pictures)


def require_pictures(pictures: dict[str, str], limits: Limits) -> None:
    """Refuse links, and pictures that are no PNG or JPEG or too large, before PaddleX opens them."""
    for name, encoded in pictures.items():
        if links.is_link(encoded):
            raise Refusal(422, f"markdownImages: found a link for {name[:80]!r}; {links.NONE}")
        data = options.bytes_of(encoded, f"markdownImages.{name[:80]}", limits.max_bytes)
        try:
            if decoder.kind_of(data) not in ("png", "jpeg"):
                raise Unreadable("it is no PNG or JPEG")
            decoder.open_document(data, max_pages=1, max_pixels=limits.max_pixels)
        except Unreadable as wrong:
            raise Refusal(422, f"markdownImages: {name[:80]!r}: {wrong}") from wrong


def fair_questions(at_once: int) -> None:
    """Let the questions of all requests have their turn at the VLM server, at most `at_once` at the same time."""
    from paddlex.inference.models.common import genai

    turns = Turns(at_once)

    def create_chat_completion(self: Any, messages: Any, *, return_future: bool = False, **settings: Any) -> Any:
        request, question = here.request, noted.ask()

        async def ask() -> Any:
            async with turns.held_in_loop(request):
                if request.over:
                    raise asyncio.CancelledError
                completion = await self._client.chat.completions.create(
                    model=self._model_name, messages=messages, **settings
                )
                question.answered(completion)
                return completion

        return genai.run_async(ask(), return_future=return_future)

    genai.GenAIClient.create_chat_completion = create_chat_completion


def watch(pipeline: Any) -> None:
    """Have a pipeline of PaddleX's look at large pages in pieces, and note what its questions are about."""
    inner = pipeline._pipeline  # the one around it is for several devices
    problems.note_pages(inner)
    if hasattr(inner, "layout_det_model"):
        inner.layout_det_model = cutting.Piecewise(inner.layout_det_model)
