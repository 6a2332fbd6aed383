"""What the last lines of a container that failed mean, and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SIGKILL_STATUS = 137


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """A failure in plain words, and the next step."""

    what: str
    step: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cause:
    pattern: re.Pattern[str]
    meaning: Meaning


def _cause(pattern: str, what: str, step: str) -> _Cause:
    return _Cause(pattern=re.compile(pattern, re.IGNORECASE), meaning=Meaning(what=what, step=step))


_OUT_OF_MEMORY = Meaning(
    what="out of memory: the kernel ended it at the container's memory limit",
    step="raise API_MEMORY or VLM_MEMORY in the stack's .env, or make the model's memory smaller in its configuration",
)
_KILLED = Meaning(
    what="it was killed from outside (SIGKILL)", step="`dmesg` shows whether the host ran out of memory"
)

# In order: the first that matches counts, so the more telling ones stand first.
_CAUSES = (
    # vllm-ascend issue 2698; CANN's installation guide: "a device can be used by only one container"
    _cause(
        r"dcmi mod(ule|el) initialized? failed|ret is -80(05|20)",
        "the card is held by another container, or this one may not open it",
        "stop the other one or choose another card (NPU_DEVICE, API_NPU_DEVICE), and check NPU_GROUP in .env",
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
        "this engine cannot give a container a card",
        "install NVIDIA's container toolkit on the host, then `nvidia-ctk runtime configure --runtime=docker`, "
        "and restart Docker",
    ),
    # CUDA's words for errors 35, 222, 803 and 804, and torch's
    _cause(
        r"driver version is insufficient|nvidia driver on your system is too old|unsatisfied condition: cuda"
        r"|ptx was compiled with an unsupported toolchain|unsupported display driver|compatibility mode is unavailable",
        "the host's NVIDIA driver is too old for this target",
        "update the driver; docs/targets.md names the least one of each target",
    ),
    # vLLM's and torch's words
    _cause(
        r"less than desired gpu memory utilization|cuda out of memory|cuda error: out of memory"
        r"|no available memory for the cache blocks",
        "the card has too little free memory",
        "stop what else uses it (`nvidia-smi`), or give the VLM server less (`paddock tune` works out what fits)",
    ),
    _cause(
        r"libascend_hal\.so|failed to infer device type|libcuda\.so\.1: cannot open",
        "it does not find the card's driver",
        "look at the host: `nvidia-smi`, or for Ascend /usr/local/Ascend/driver and its group (NPU_GROUP in .env)",
    ),
    _cause(
        r"soc_?version .*does not match|mismatched gpu architecture",
        "the image is made for another chip",
        "choose the target of your card, such as ascend-910b, ascend-310p, cu126 or sm120",
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
        "check that the weight set is the one that the configuration wants (`paddock models check`), and the versions",
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
        "give it a way out (HTTPS_PROXY, CA_BUNDLE, a mirror such as HF_ENDPOINT, in the stack's .env), or fetch them "
        "elsewhere and name their folder (MODELS_DIR) in place of COMPOSE_FILE; docs/models.md",
    ),
    _cause(
        r"no api key after",
        "the VLM server's container did not write the API key",
        "`paddock logs` of the service vlm shows why it does not start",
    ),
    _cause(
        r"(certificate verify failed|temporary failure in name resolution|max retries exceeded.*huggingface"
        r"|couldn't connect to .*huggingface|is not a local folder and is not a valid model identifier"
        r"|repo id must (be|use)|invalid repository id or local directory|no file named .* found in directory)",
        "the weights are not where its configuration says",
        "check the paths below /models in the configuration, and the folder MODELS_DIR in .env",
    ),
    _cause(
        r"no such file or directory|does not exist|filenotfounderror|expected exactly one",
        "a file is missing, most likely weights that the configuration names",
        "`paddock models check` says which sets are whole; MODELS_DIR in .env says where they are looked for",
    ),
    _cause(
        r"permission denied|permissionerror|read-only file system|operation not permitted",
        "it may not read or write a file",
        "make the weights and the stack's folder readable for everybody (`chmod -R a+rX FOLDER`); RUN_AS in .env needs"
        " group 0",
    ),
    _cause(
        r"out of memory|cannot allocate memory|std::bad_alloc|memoryerror",
        "it ran out of memory",
        _OUT_OF_MEMORY.step,
    ),
    _cause(
        r"no space left on device",
        "the disk, or its tmpfs, is full",
        "free disk space (`docker system df`), or raise the size of tmpfs in compose.yaml",
    ),
    _cause(
        r"the pipeline asks for",
        "the VLM server serves another name than the pipeline asks for",
        "give `served-model-name` of vlm.yaml and `VLRecognition.model_name` of pipeline.yaml the same value",
    ),
    _cause(
        r"yaml\.(scanner|parser)|while parsing a|could not find expected",
        "a configuration file is not YAML",
        "correct pipeline.yaml or vlm.yaml in the stack's folder",
    ),
)


def explain(lines: Iterable[str], *, exit_code: int = 0, oom_killed: bool = False) -> Meaning | None:
    """What the last lines and the exit status of a container mean; None where that is not known."""
    if oom_killed:
        return _OUT_OF_MEMORY
    text = list(lines)
    for cause in _CAUSES:
        if any(cause.pattern.search(line) for line in text):
            return cause.meaning
    return _KILLED if exit_code == SIGKILL_STATUS else None
