"""What the last lines of a container that failed mean, and what to do about it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from paddock.errors import ProgramError

SIGKILL_STATUS = 137


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """A failure in plain words, and the next step: both begin in lower case and end without a full stop."""

    what: str
    step: str
    memory: bool = False  # a container with more memory may do


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cause:
    pattern: re.Pattern[str]
    meaning: Meaning


def _cause(pattern: str, what: str, step: str) -> _Cause:
    return _Cause(pattern=re.compile(pattern, re.IGNORECASE), meaning=Meaning(what=what, step=step))


# The kernel says so by the container's state, programs in their own words.
_OUT_OF_MEMORY = Meaning(
    what="it ran out of memory: it needs more than its container may use, or than the host has",
    step="raise API_MEMORY or VLM_MEMORY (`paddock config set TARGET VLM_MEMORY=12g`), or give the model "
    "less in its configuration",
    memory=True,
)
_KILLED = Meaning(
    what="it was killed from outside (SIGKILL), most often because there was no memory left",
    step="look into `dmesg` for `Out of memory`, and raise API_MEMORY or VLM_MEMORY where it is that",
    memory=True,
)
# vLLM's words where the process that holds the model ended without a word of its own
_ENGINE_DIED = Meaning(
    what="the server's process that holds the model was ended and could not say why, as happens when memory "
    "runs out",
    step="raise VLM_MEMORY (`paddock config set TARGET VLM_MEMORY=12g`); `dmesg` says `Out of memory` where "
    "it is that",
    memory=True,
)

# In order: the first that matches counts, so the more specific ones stand first.
_CAUSES = (
    # vllm-ascend issue 2698; CANN's installation guide: "a device can be used by only one container"
    _cause(
        r"dcmi mod(ule|el) initialized? failed|ret is -80(05|20)",
        "another container holds the card, or this one may not open it",
        "stop the other container or choose another card (NPU_DEVICE, API_NPU_DEVICE), "
        "and check NPU_GROUP in .env",
    ),
    # Docker Engine's words where a container registry does not answer, or has no such image
    _cause(
        r"get \"https?://[^\"]*/v2/|pull access denied|manifest (unknown|for .* not found)",
        "an image could not be pulled",
        "`docker pull` of that image says why; IMAGE_PREFIX or UPSTREAM_PREFIX in .env names another place, "
        "and `docker load` brings an image where there is no network",
    ),
    # Docker Engine's words where NVIDIA's container toolkit is not installed
    _cause(
        r"could not select device driver",
        "the engine cannot pass a card to a container",
        "install NVIDIA's container toolkit on the host, then run "
        "`nvidia-ctk runtime configure --runtime=docker` and restart Docker",
    ),
    # CUDA's words for errors 35, 222, 803 and 804, and torch's
    _cause(
        r"driver version is insufficient|nvidia driver on your system is too old|unsatisfied condition: cuda"
        r"|ptx was compiled with an unsupported toolchain|unsupported display driver"
        r"|compatibility mode is unavailable",
        "the host's NVIDIA driver is too old for this target",
        "update the driver; docs/reference/targets.md names the oldest one that works for each target",
    ),
    # vLLM's and torch's words
    _cause(
        r"less than desired gpu memory utilization|cuda out of memory|cuda error: out of memory"
        r"|no available memory for the cache blocks",
        "the card has too little free memory",
        "stop what else uses the card (`nvidia-smi`), or give the VLM server less "
        "(`paddock tune` works out what fits)",
    ),
    _cause(
        r"libascend_hal\.so|failed to infer device type|libcuda\.so\.1: cannot open",
        "it does not find the card's driver",
        "check the driver on the host: `nvidia-smi`, or for Ascend /usr/local/Ascend/driver and its group "
        "(NPU_GROUP in .env)",
    ),
    _cause(
        r"soc_?version .*does not match|mismatched gpu architecture",
        "the image is made for another chip",
        "choose the target for your card, such as ascend-910b, ascend-310p, cu126 or sm120",
    ),
    _cause(
        r"unrecognized arguments?|unknown (option|argument)|invalid argument: --|error: argument ",
        "the server does not know an option in its configuration, or refuses its value",
        "correct vlm.yaml or vlm.conf in the stack's folder",
    ),
    _cause(
        r"model architectures? .* (is|are) not supported|not supported for now|unknown model architecture"
        r"|does not recognize this architecture|unrecognized model in",
        "the server does not know this kind of model",
        "check that the weight set is the one that the configuration names (`paddock models check`), "
        "and that the server's version is the one that the model needs",
    ),
    _cause(
        r"address already in use|errno 98",
        "another program listens on its port inside the container's network",
        "stop the other program, or set another API_PORT in .env",
    ),
    # `paddock models fetch` in the service weights of an online stack
    _cause(
        r"no source gave it",
        "the weights could not be fetched: each source and its reason stands above",
        "give the container a way out (HTTPS_PROXY, CA_BUNDLE, a mirror such as HF_ENDPOINT in the stack's "
        ".env), or fetch the weights elsewhere and set MODELS_DIR to their folder in place of COMPOSE_FILE; "
        "docs/guides/models.md has both ways",
    ),
    # What supervise.py of the door's image says; Docker's words where the port of its metrics is taken
    _cause(
        r"DOOR_TLS_DIR=.*: found",
        "the door cannot use the site's certificate",
        "put a chain that holds and its key into door.pem in that folder, readable for group 0; empty, "
        "DOOR_TLS_DIR in the stack's .env has the door sign one itself",
    ),
    _cause(
        r"DOOR_TLS=(off|\S+): (found API_BIND|expected)",
        "the door would take keys without encryption from beyond this host",
        "leave DOOR_TLS at on, or API_BIND at 127.0.0.1",
    ),
    _cause(
        r"no api key after",
        "the VLM server's container did not write the API key",
        "`paddock logs TARGET vlm` says why that container does not start",
    ),
    _cause(
        r"(certificate verify failed|temporary failure in name resolution|max retries exceeded.*huggingface"
        r"|couldn't connect to .*huggingface|is not a local folder and is not a valid model identifier"
        r"|repo id must (be|use)|invalid repository id or local directory"
        r"|no file named .* found in directory)",
        "the weights are not where its configuration says",
        "check the paths below /models in the configuration, and the folder MODELS_DIR in .env",
    ),
    _cause(
        r"no such file or directory|does not exist|filenotfounderror|expected exactly one",
        "a file is missing, most likely weights that the configuration names",
        "see which sets are complete (`paddock models check`), and that MODELS_DIR in .env is their folder",
    ),
    _cause(
        r"permission denied|permissionerror|read-only file system|operation not permitted",
        "it may not read or write a file",
        "make the weights and the stack's folder readable for everybody, as `chmod -R a+rX` does; "
        "RUN_AS in .env needs the group 0",
    ),
    _Cause(
        pattern=re.compile(r"out of memory|cannot allocate memory|std::bad_alloc|memoryerror", re.IGNORECASE),
        meaning=_OUT_OF_MEMORY,
    ),
    _cause(
        r"no space left on device",
        "the disk, or its tmpfs, is full",
        "free disk space (`docker system df` shows what uses it), or enlarge the tmpfs in compose.yaml",
    ),
    _cause(
        r"the pipeline asks for",
        "the VLM server serves its model under another name than the pipeline asks for",
        "give `served-model-name` of vlm.yaml and `VLRecognition.model_name` of pipeline.yaml the same value",
    ),
    _cause(
        r"yaml\.(scanner|parser)|while parsing a|could not find expected",
        "a configuration file is not YAML",
        "correct pipeline.yaml or vlm.yaml in the stack's folder",
    ),
    _Cause(
        pattern=re.compile(r"engine ?core (initialization failed|encountered an issue|died)", re.IGNORECASE),
        meaning=_ENGINE_DIED,
    ),
)


def meanings() -> tuple[Meaning, ...]:
    """Everything that a failure can mean, for the documents."""
    return (*(cause.meaning for cause in _CAUSES), _KILLED)


def explain(lines: Iterable[str], *, exit_code: int = 0, oom_killed: bool = False) -> Meaning | None:
    """What the last lines and the exit status of a container mean; None where that is not known."""
    if oom_killed:
        return _OUT_OF_MEMORY
    text = list(lines)
    for cause in _CAUSES:
        if any(cause.pattern.search(line) for line in text):
            return cause.meaning
    return _KILLED if exit_code == SIGKILL_STATUS else None


def memory(size: int) -> str:
    """So many bytes as the settings have them: 8g, 256m."""
    return f"{size >> 30}g" if size % 2**30 == 0 else f"{size >> 20}m"


def more_memory(service: str, limit: int) -> str:
    """The setting that gives a container half as much again as its `limit` in bytes, in whole GiB."""
    return f"{service.upper()}_MEMORY={math.ceil(limit * 1.5 / 2**30)}g"


def explained(failure: ProgramError) -> ProgramError:
    """The failure of a program with what its output means; the same failure where that is not known."""
    meaning = explain(failure.message.splitlines())
    if meaning is None:
        return failure
    return ProgramError(f"{failure.message}\nthis means: {meaning.what}", hint=meaning.step)
