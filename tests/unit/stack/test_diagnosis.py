"""What the last lines of a container that failed mean."""

from __future__ import annotations

import pytest

from paddock.errors import ProgramError
from paddock.stack import diagnosis

# What programs print, by what it means.
SEEN = {
    "does not know an option": [
        "vllm serve: error: unrecognized arguments: --nope",
    ],
    "does not know this kind of model": [
        "ValueError: Model architectures ['Nope'] are not supported for now.",
    ],
    "another program listens": [
        "OSError: [Errno 98] Address already in use",
    ],
    "cannot use the site's certificate": [
        "DOOR_TLS_DIR=/etc/ssl/ocr: found a certificate that expired on Jan  1 00:00:00 2021 GMT",
        "DOOR_TLS_DIR=/etc/ssl/ocr: found no private key behind the certificates",
    ],
    "keys without encryption": [
        "DOOR_TLS=off: found API_BIND=0.0.0.0, expected 127.0.0.1: keys must not cross a network",
    ],
    "did not write the API": [
        "/var/lib/paddock/vlm-api-key: no API key after 120 s; the VLM server's container",
    ],
    "weights are not where": [
        "  Value error, Invalid repository ID or local directory specified: '/models/X'.",
    ],
    "a file is missing": [
        "FileNotFoundError: [Errno 2] No such file or directory: '/models/X'",
        "/models/G: expected exactly one .gguf file for -name *mmproj*, found: none",
    ],
    "may not read or write a file": [
        "PermissionError: [Errno 13] Permission denied: '/models/X/model.safetensors'",
    ],
    "ran out of memory": [
        "RuntimeError: [enforce fail at alloc_cpu.cpp:121] Cannot allocate memory",
    ],
    "the card has too little free memory": [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
        "ValueError: Free memory on device (3.9/11.9 GiB) on startup is less than "
        "desired GPU memory utilization.",
    ],
    "cannot pass a card to a container": [
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
    ],
    "NVIDIA driver is too old": [
        "Error 803: system has unsupported display driver / cuda driver combination",
        "CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    ],
    "does not find the card's": [
        "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
    ],
    "not be pulled": [
        'vlm Error Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
        "manifest for registry.example/a:1 not found: manifest unknown",
    ],
    "the disk, or its tmpfs, is full": [
        "OSError: [Errno 28] No space left on device",
    ],
    "under another name": [
        "the VLM server serves ['a'], the pipeline asks for b",
    ],
    "is not YAML": [
        "yaml.scanner.ScannerError: mapping values are not allowed here",
    ],
}


def test_what_compose_says_is_explained_too() -> None:
    said = (
        'docker compose ended with 1\n  Error response from daemon: could not select device driver "nvidia"'
    )
    found = diagnosis.explained(ProgramError(said))
    assert found.message.endswith("this means: the engine cannot pass a card to a container")
    assert "nvidia-ctk" in found.hint
    unknown = ProgramError("docker compose ended with 1\n  something else")
    assert diagnosis.explained(unknown) is unknown


@pytest.mark.parametrize(
    ("meaning", "line"), [(meaning, line) for meaning, lines in SEEN.items() for line in lines]
)
def test_known_causes(meaning: str, line: str) -> None:
    found = diagnosis.explain(["INFO loading", line, "Traceback (most recent call last):"], exit_code=1)
    assert found is not None
    assert meaning in found.what
    assert found.step


def test_an_unknown_cause_is_not_guessed() -> None:
    assert diagnosis.explain(["Segmentation fault"], exit_code=139) is None
    assert diagnosis.explain([], exit_code=1) is None


def test_the_kernel_knows_better_than_the_lines() -> None:
    found = diagnosis.explain(["No such file or directory"], exit_code=137, oom_killed=True)
    assert found is not None
    assert "out of memory" in found.what
    killed = diagnosis.explain(["working"], exit_code=137)
    assert killed is not None
    assert "killed from outside" in killed.what


def test_meanings_go_into_sentences() -> None:
    """They are joined to others: a hint capitalises the step and sets the full stop behind it."""
    for meaning in diagnosis.meanings():
        for text in (meaning.what, meaning.step):
            assert not text.endswith((".", ";"))
            assert not text[0].isupper() or text.startswith(("API", "MODELS"))


def test_no_meaning_is_written_twice() -> None:
    meanings = [meaning.what for meaning in diagnosis.meanings()]
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize(("size", "words"), [(8 << 30, "8g"), (256 << 20, "256m"), (1536 << 20, "1536m")])
def test_sizes_are_written_as_in_the_settings(size: int, words: str) -> None:
    assert diagnosis.memory(size) == words


@pytest.mark.parametrize(
    ("service", "limit", "setting"),
    [
        ("vlm", 8 << 30, "VLM_MEMORY=12g"),
        ("api", 256 << 20, "API_MEMORY=1g"),
        ("api", 3 << 30, "API_MEMORY=5g"),
    ],
)
def test_the_setting_that_gives_more_memory(service: str, limit: int, setting: str) -> None:
    assert diagnosis.more_memory(service, limit) == setting
