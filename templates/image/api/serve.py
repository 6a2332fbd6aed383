"""Starts PaddleX serving for one document pipeline, with what a deployment needs around it.

Different from `paddlex --serve`:
- the VLM server's API key is read from a file and put into the configuration in memory;
- requests run in parallel, while all Paddle Inference work stays in one thread: PaddleX serialises whole
  requests to keep the predictor in one thread (PaddleX 3.7.2, serving/basic_serving/_app.py), although a
  request spends most of its time waiting for the VLM server;
- `GET /health/ready` answers 200 only while the VLM server lists the model that the pipeline will ask for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CONFIGURATION = Path(os.environ.get("PADDOCK_CONFIG", "/etc/paddock/pipeline.yaml"))
KEY_FILE = Path(os.environ["PADDOCK_KEY_FILE"])
DEVICE = os.environ.get("PADDOCK_DEVICE", "cpu")
PARALLEL_REQUESTS = int(os.environ.get("API_PARALLEL_REQUESTS") or 8)
KEY_TIMEOUT = 120.0  # seconds; the VLM server writes the key when its container starts
READY_TIMEOUT = 5.0  # seconds
TEST_MARKER = "TEST_WEIGHTS.md"  # lies in every set of test weights
EMBEDDED_MARKER = "EMBEDDED_MODEL.md"  # lies in every set of the embedded model; its heading is what to say of results

# Read by PaddleX when it is imported.
os.environ["PADDLE_PDX_SERVING_SERIAL_PIPELINE_CALLS"] = "0"


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


def keep_paddle_in_one_thread() -> None:
    """Send every run of a Paddle predictor to one thread, whichever thread asks.

    A predictor's input and output handles are shared, so two threads in one predictor read each other's pages.
    """
    from paddlex.inference.models.runners.paddle_static.runner import PaddleStaticRunner

    paddle = ThreadPoolExecutor(max_workers=1, thread_name_prefix="paddle")
    run = PaddleStaticRunner.__call__

    def run_in_paddle_thread(self: PaddleStaticRunner, x: Any) -> Any:
        return paddle.submit(run, self, x).result()

    PaddleStaticRunner.__call__ = run_in_paddle_thread


def uses_test_weights(configuration: dict[str, Any]) -> bool:
    """Whether the layout model is test weights, which read nothing; answers are to say so."""
    layout = configuration["SubModules"]["LayoutDetection"].get("model_dir")
    return layout is not None and (Path(layout) / TEST_MARKER).exists()


def notice_of(configuration: dict[str, Any]) -> str:
    """What is to be said beside every result of the embedded model; nothing for another one."""
    layout = configuration["SubModules"]["LayoutDetection"].get("model_dir")
    marker = Path(layout or "") / EMBEDDED_MARKER
    return marker.read_text("utf-8").partition("\n")[0].lstrip("# ") if layout and marker.exists() else ""


def add_readiness(app: Any, genai: dict[str, Any], model_name: str, *, test_weights: bool, notice: str) -> None:
    """Add `GET /health/ready`: 200 with the model's name, or 503 with the reason."""
    import aiohttp
    from fastapi.responses import JSONResponse

    url = genai["server_url"].rstrip("/") + "/models"
    headers = {"Authorization": f"Bearer {genai['client_kwargs']['api_key']}"}

    async def reason_against() -> str:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_TIMEOUT)) as session,
                session.get(url, headers=headers) as answer,
            ):
                if answer.status != 200:
                    return f"the VLM server answers {answer.status} at {url}"
                served = [entry.get("id") for entry in (await answer.json()).get("data", [])]
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as failure:  # noqa: UP041 - two until Python 3.10
            return f"the VLM server does not answer at {url}: {failure or type(failure).__name__}"
        return "" if model_name in served else f"the VLM server serves {served}, the pipeline asks for {model_name}"

    @app.get("/health/ready", operation_id="checkReadiness")
    async def ready() -> JSONResponse:
        reason = await reason_against()
        body = {
            "ready": not reason,
            "model": model_name,
            "reason": reason,
            "test_weights": test_weights,
            "notice": notice,
        }
        return JSONResponse(body, status_code=503 if reason else 200)


def quiet_health_checks() -> None:
    """Keep health checks out of the access log."""

    class NoHealth(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return "GET /health" not in record.getMessage()

    logging.getLogger("uvicorn.access").addFilter(NoHealth())


async def serve(app: Any) -> None:
    """Serve until SIGTERM, with as many worker threads as requests may run at once."""
    import uvicorn

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(PARALLEL_REQUESTS, "request"))
    await uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=8080, log_level="info")).serve()  # noqa: S104


def main() -> None:
    """Load the configuration, build the pipeline and serve it."""
    import yaml

    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    recognition = configuration["SubModules"]["VLRecognition"]
    genai = recognition["genai_config"]
    genai.setdefault("client_kwargs", {})["api_key"] = read_key()

    import drawing
    from paddlex import create_pipeline
    from paddlex.inference.serving.basic_serving import create_pipeline_app

    keep_paddle_in_one_thread()
    drawing.install()
    pipeline = create_pipeline(config=configuration, device=DEVICE)
    app = create_pipeline_app(pipeline, configuration)
    test, notice = uses_test_weights(configuration), notice_of(configuration)
    add_readiness(app, genai, recognition["model_name"], test_weights=test, notice=notice)
    quiet_health_checks()
    asyncio.run(serve(app))


if __name__ == "__main__":
    main()
