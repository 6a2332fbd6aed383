"""Starts PaddleX's pipeline for documents, with what a deployment needs around it.

Different from `paddlex --serve`:
- what a stranger can send is bounded, looked at before it is decoded, and read in a process of its own (door.py,
  documents.py);
- documents are worked on in pieces, side by side and in fair order (parsing.py, turns.py), while Paddle Inference works
  in one thread of another process (predictors.py): PaddleX serialises whole requests (3.7.2,
  serving/basic_serving/_app.py), although a request spends most of its time waiting for the VLM server;
- the VLM server's API key is read from a file and put into the configuration in memory;
- `GET /health/ready` answers 200 only while the VLM server lists the model that the pipeline will ask for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

CONFIGURATION = Path(os.environ.get("PADDOCK_CONFIG", "/etc/paddock/pipeline.yaml"))
KEY_FILE = Path(os.environ["PADDOCK_KEY_FILE"])
DEVICE = os.environ.get("PADDOCK_DEVICE", "cpu")
KEYS_FILE = Path("/etc/paddock/api-keys/keys")
KEY_TIMEOUT = 120.0  # seconds; the VLM server writes the key when its container starts
READY_TIMEOUT = 5.0  # seconds
TEST_MARKER = "TEST_WEIGHTS.md"  # lies in every set of test weights
EMBEDDED_MARKER = "EMBEDDED_MODEL.md"  # lies in every set of the embedded model; its heading is what to say of results


def read_key() -> str:
    """Wait for the key file and return its content; exits with a message when it never comes."""
    end = time.monotonic() + KEY_TIMEOUT
    while not (KEY_FILE.is_file() and KEY_FILE.stat().st_size):
        if time.monotonic() > end:
            sys.exit(
                f"{KEY_FILE}: no API key after {KEY_TIMEOUT:.0f} s; the VLM server's container writes it at its start"
            )
        time.sleep(0.1)
    return KEY_FILE.read_text(encoding="ascii").strip()


def uses_test_weights(configuration: dict[str, Any]) -> bool:
    """Whether the layout model is test weights, which read nothing; answers are to say so."""
    layout = configuration["SubModules"]["LayoutDetection"].get("model_dir")
    return layout is not None and (Path(layout) / TEST_MARKER).exists()


def notice_of(configuration: dict[str, Any]) -> str:
    """What is to be said beside every result of the embedded model; nothing for another one."""
    layout = configuration["SubModules"]["LayoutDetection"].get("model_dir")
    marker = Path(layout or "") / EMBEDDED_MARKER
    return marker.read_text("utf-8").partition("\n")[0].lstrip("# ") if layout and marker.exists() else ""


class Readiness:
    """Answers for `GET /health/ready`: whether the VLM server can answer, and of what model."""

    def __init__(self, genai: dict[str, Any], model_name: str, *, test_weights: bool, notice: str) -> None:
        self._url = genai["server_url"].rstrip("/") + "/models"
        self._headers = {"Authorization": f"Bearer {genai['client_kwargs']['api_key']}"}
        self._model_name = model_name
        self._said = {"test_weights": test_weights, "notice": notice}

    async def __call__(self) -> tuple[bool, dict[str, Any]]:
        reason = await self._reason_against()
        return not reason, {"ready": not reason, "model": self._model_name, "reason": reason, **self._said}

    async def _reason_against(self) -> str:
        import aiohttp

        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_TIMEOUT)) as session,
                session.get(self._url, headers=self._headers) as answer,
            ):
                if answer.status != 200:
                    return f"the VLM server answers {answer.status} at {self._url}"
                served = [entry.get("id") for entry in (await answer.json()).get("data", [])]
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as failure:  # noqa: UP041 - two until Python 3.10
            return f"the VLM server does not answer at {self._url}: {failure or type(failure).__name__}"
        if self._model_name in served:
            return ""
        return f"the VLM server serves {served}, the pipeline asks for {self._model_name}"


def quiet_health_checks() -> None:
    """Keep health checks out of the access log."""

    class NoHealth(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return not any(path in record.getMessage() for path in ("GET /health", "GET /metrics"))

    logging.getLogger("uvicorn.access").addFilter(NoHealth())


def load(configuration: dict[str, Any], predictors: Any) -> tuple[Any, list[str]]:
    """PaddleX's pipeline, and which models that prepare pages it has: those whose weights are here and can be read."""
    from paddlex import create_pipeline

    import drawing
    import parsing

    def made(configuration: dict[str, Any]) -> Any:
        pipeline = create_pipeline(config=configuration, device=DEVICE)
        parsing.watch(pipeline)
        return pipeline

    predictors.install()
    parsing.fair_questions(configuration["SubModules"]["VLRecognition"]["genai_config"].get("max_concurrency", 200))
    drawing.install()
    here = parsing.preprocessors(configuration)
    if not here or configuration.get("use_doc_preprocessor"):
        return made(configuration), here
    preprocessor = configuration["SubPipelines"]["DocPreprocessor"]
    preprocessor["use_doc_orientation_classify"] = "orientation" in here
    preprocessor["use_doc_unwarping"] = "unwarping" in here
    try:
        return made({**configuration, "use_doc_preprocessor": True}), here
    except Exception:
        logging.getLogger("uvicorn.error").exception(
            "%s: the weights cannot be loaded; going on without: no request can ask for them", ", ".join(here)
        )
        return made(configuration), []


def metrics_of(worker: Any) -> Any:
    """What counts for `/metrics`; None in an image of upstream's without prometheus_client."""
    try:
        import metrics
    except ImportError:
        return None
    return metrics.Metrics(worker)


def main() -> None:
    """Load the configuration, build the pipeline and serve it."""
    key = read_key()

    import documents
    import limits
    import predictors

    bounds = limits.Limits()
    reader = documents.Reader(bounds)  # before any thread
    paddle = predictors.Predictors()  # before Paddle

    import yaml

    import door
    import keys
    import links
    import openapi
    import parsing
    import recycling
    import server

    allowed = links.Allowed.read(limits.names("ALLOW_URLS"))
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    preprocesses = configuration.get("use_doc_preprocessor") is True
    recognition = configuration["SubModules"]["VLRecognition"]
    genai = recognition["genai_config"]
    genai.setdefault("client_kwargs", {})["api_key"] = key
    # One block never waits longer than a whole request may.
    genai["client_kwargs"]["timeout"] = min(genai["client_kwargs"].get("timeout") or bounds.timeout, bounds.timeout)
    guarded = bool(os.environ.get("API_KEYS"))
    test, notice = uses_test_weights(configuration), notice_of(configuration)

    pipeline, preprocessors = load(configuration, paddle)
    parser = parsing.Parser(
        pipeline,
        configuration,
        limits=bounds,
        allowed=allowed,
        reader=reader,
        device=DEVICE,
        preprocessors=preprocessors,
        preprocesses=preprocesses,
    )
    operations = {"/layout-parsing": parser.layout_parsing, "/restructure-pages": parser.restructure_pages}
    ready = Readiness(genai, recognition["model_name"], test_weights=test, notice=notice)
    worker = recycling.Recycling.read()
    counts = metrics_of(worker)
    app = door.Door(
        bounds,
        hosts=limits.names("API_HOSTS"),
        keys=keys.Keys(KEYS_FILE) if guarded else None,
        operations=counts.counting(operations) if counts else operations,
        readiness=worker.over(ready),
        description=openapi.description(keys=guarded),
    )
    quiet_health_checks()
    served = counts.around(app, operations, published=guarded) if counts else app
    asyncio.run(server.serve(served, serving=lambda config: recycling.Server(config, worker, ready)))
    logging.shutdown()
    os._exit(0)  # the processes that read and predict wait for work; the container ends with this one


if __name__ == "__main__":
    main()
