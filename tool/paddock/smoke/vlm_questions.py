"""Asks a VLM server directly: run by `paddock smoke` inside a container of its stack, never on the host.

    python vlm_questions.py < request.json

A VLM server behind a pipeline API is not published, so it is asked from where that API asks it: same address,
same key, through the official openai library. One that is served alone is asked from its own container. Reads
one line of JSON, {"pipeline": PATH, "timeout": SECONDS, "questions": [...]}, or "server" with url, model and
backend instead of "pipeline"; prints one line of JSON for the server and one for each answer as it comes.
Stdin stays open: when it ends, nobody listens any more, and the program ends too. This file imports nothing
of paddock; `paddock.smoke.answers` reads what it prints.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from openai import OpenAI, OpenAIError

MAX_TOKENS = 1024  # our answers are short; one that never ends is cut here, and counts as wrong
# As PaddleX 3.7.2 asks each backend (inference/models/doc_vlm/predictor.py).
OLD_LIMIT = ("llama-cpp-server", "mlx-vlm-server")
SAMPLES = ("fastdeploy-server",)


def main() -> None:
    """Ask everything, one question after the other."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_stdin, daemon=True).start()
    server, options = (
        (request["server"], {}) if "server" in request else configured(Path(request["pipeline"]))
    )
    say({"server": server["url"], "model": server["model"], "backend": server["backend"]})
    client = OpenAI(base_url=server["url"], api_key=key(options), timeout=request["timeout"], max_retries=0)
    for question in request["questions"]:
        say(answer(client, server["model"], server["backend"], question))


def configured(pipeline: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The server that a pipeline configuration names, and the options of its client."""
    recognition = yaml.safe_load(pipeline.read_text("utf-8"))["SubModules"]["VLRecognition"]
    genai = recognition["genai_config"]
    options = genai.get("client_kwargs") or {}
    model = options.get("model_name") or recognition["model_name"]
    return {"url": genai["server_url"], "model": model, "backend": genai["backend"]}, options


def end_with_stdin() -> None:
    """End this process when the program that started it is gone."""
    while sys.stdin.readline():
        pass
    os._exit(0)


def key(options: dict[str, Any]) -> str:
    """The API key: paddock's stacks have it in a file, others in the configuration."""
    path = os.getenv("PADDOCK_KEY_FILE")  # set in our images
    if path and Path(path).is_file():
        return Path(path).read_text("ascii").strip()
    return str(options.get("api_key") or "null")


def answer(client: OpenAI, model: str, backend: str, question: dict[str, Any]) -> dict[str, Any]:
    """What the server answers to one question, how long it took, or why there is no answer."""
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{question['png']}"}},
        {"type": "text", "text": question["prompt"]},
    ]
    limit = "max_tokens" if backend in OLD_LIMIT else "max_completion_tokens"
    sampling = {"temperature": 1, "top_p": 0} if backend in SAMPLES else {"temperature": 0}
    began = time.monotonic()
    try:
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": content}],
            extra_body=question["extra_body"],
            **{limit: MAX_TOKENS},
            **sampling,
        )
    except OpenAIError as failure:
        return {"name": question["name"], "seconds": time.monotonic() - began, "error": reason(failure)}
    choice = completion.choices[0]
    text, cut = choice.message.content or "", choice.finish_reason == "length"
    return {"name": question["name"], "seconds": time.monotonic() - began, "answer": text, "cut": cut}


def reason(failure: OpenAIError) -> str:
    """The failure and what it came from: the library says "Connection error." and keeps the rest inside."""
    cause = failure.__cause__
    return f"{failure} ({cause})" if cause is not None and str(cause) not in str(failure) else str(failure)


def say(value: dict[str, Any]) -> None:
    """One line of JSON, at once."""
    print(json.dumps(value), flush=True)  # noqa: T201 - its output is what it is for


if __name__ == "__main__":
    main()
