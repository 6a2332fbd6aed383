"""The records of the matrix: what a target, a backend and a model are, and the stack that joins one of each.

Pure data. `paddock.registry` fills these from `templates/{targets,backends,models}/*.yaml`, strictly; the field names
here are the keys of those files. Sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NoReturn, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class FrozenDict(dict[_Key, _Value]):
    """A dict in the order of its file that refuses changes; `json`, Jinja and `dataclasses.asdict` see a dict."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def _refuse(self, *_arguments: object, **_named: object) -> NoReturn:
        raise TypeError("the records of the matrix do not change")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse


@dataclass(frozen=True, slots=True)
class Pattern:
    """Narrows a string field: `expression` must match the whole value, `meaning` says in words what is wanted."""

    expression: str
    meaning: str


# A version stands in an image's history and in a lock: one version, never a range, never `latest`.
Pin = Annotated[str, Pattern(r"v?[0-9][0-9A-Za-z.+_-]*", 'one exact version such as "3.7.2"')]
PythonVersion = Annotated[str, Pattern(r"3\.[0-9]+", 'a Python as major.minor such as "3.11"')]
Size = Annotated[str, Pattern(r"[1-9][0-9]*[kmg]", 'a size in Compose\'s notation such as "4g"')]
HttpPath = Annotated[str, Pattern(r"/[!-~]*", 'a path such as "/health"')]
Url = Annotated[str, Pattern(r"https?://[!-~]+", "an http or https URL")]
RepositoryId = Annotated[str, Pattern(r"[\w.-]+/[\w.-]+", "a repository as owner/name")]
DirectoryName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of one directory")]


class Accelerator(StrEnum):
    """Kind of card that a target runs on."""

    NONE = "none"
    NVIDIA = "nvidia"
    ASCEND = "ascend"


class Platform(StrEnum):
    """Docker's os/arch of an image."""

    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


class Variant(StrEnum):
    """Where the weights are: mounted from the host (online) or layers of the images (offline)."""

    ONLINE = "online"
    OFFLINE = "offline"


class Source(StrEnum):
    """Where weights can be fetched from."""

    BOS = "bos"
    HUGGINGFACE = "huggingface"
    MODELSCOPE = "modelscope"


class WeightsRole(StrEnum):
    """Which part of a stack reads a weight set."""

    VLM = "vlm"
    GGUF = "gguf"
    LAYOUT = "layout"
    ORIENTATION = "orientation"
    UNWARPING = "unwarping"


class Task(StrEnum):
    """What the model can be prompted for (PaddleX `promptLabel`)."""

    OCR = "ocr"
    TABLE = "table"
    FORMULA = "formula"
    CHART = "chart"
    SPOTTING = "spotting"
    SEAL = "seal"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSet:
    """One directory of weights. `name` is upstream's directory name; at least one source is given."""

    name: DirectoryName
    role: WeightsRole
    bos: Url | None = None  # URL of a tar
    huggingface: RepositoryId | None = None  # repository id
    modelscope: RepositoryId | None = None  # repository id


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """How PaddleX names the parts of a document pipeline around a model."""

    name: str  # `pipeline_name` in PaddleX's configuration
    layout_model: str  # LayoutDetection.model_name
    layout_threshold: float | None  # one score for all classes; None leaves PaddleX's per-class values of the model


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """What is served. A model without a `pipeline` is served alone (no pipeline API)."""

    name: str
    description: str
    served_name: str  # `--served-model-name` and VLRecognition.model_name: one value for both sides
    max_context: int  # tokens
    backends: tuple[str, ...]  # the backends that can serve it
    tasks: tuple[Task, ...]
    requires: Mapping[str, str]  # package -> version specifier that knows this model
    weights: tuple[WeightSet, ...]
    pipeline: Pipeline | None = None

    def weight_set(self, role: WeightsRole) -> WeightSet | None:
        """The set with that role, if the model has one."""
        return next((weights for weights in self.weights if weights.role is role), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """A serving program, independent of hardware."""

    name: str
    description: str
    template: str  # directory below templates/image/ and stem of its configuration template
    pipeline_backend: str  # genai_config.backend of PaddleX
    weights_role: WeightsRole
    port: int
    accelerators: tuple[Accelerator, ...]
    health: HttpPath  # path that answers 200 once the model is loaded


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The image that a Dockerfile starts from."""

    image: str
    debootstrap: str | None = None  # Debian suite from which the image can be made when no container registry answers
    provides: Mapping[str, Pin] = field(default_factory=FrozenDict)  # packages that the image already holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What one image of a target is made of. Pins are exact versions."""

    base: Base
    python: PythonVersion  # interpreter on the base, as major.minor
    pins: Mapping[str, Pin]  # package or program -> exact version
    excludes: tuple[str, ...] = ()  # requirements that must not be installed
    index: Url | None = None  # extra Python package index that holds vendor wheels
    platform_pins: Mapping[Platform, Mapping[str, Pin]] = field(default_factory=FrozenDict)  # where `pins` cannot hold

    def pins_on(self, platform: Platform) -> Mapping[str, str]:
        """The pins on one platform: its own go before the common ones."""
        return FrozenDict({**self.pins, **self.platform_pins.get(platform, {})})


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """The least host driver, as the vendor numbers it, and why."""

    minimum: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """What of the host's hardware the containers get; never `privileged`."""

    nodes: tuple[str, ...] = ()  # device nodes
    mounts: tuple[str, ...] = ()  # read-only host paths
    groups: tuple[str, ...] = ()  # supplementary groups


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Memory and shared memory of one container, in Compose's notation (`4g`)."""

    memory: Size
    shm: Size
    tmpfs: Size


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineApi:
    """The pipeline API container of a target."""

    image: Image
    device: str  # `paddlex --device`
    limits: Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class VlmServer:
    """The VLM server container of a target for one backend."""

    image: Image
    limits: Limits
    start_period: int  # seconds in which a slow load is not a failure
    settings: Mapping[str, str | int | float | bool]  # the server's own option names, without dashes in front
    environment: Mapping[str, str] = field(default_factory=FrozenDict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One hardware and software combination."""

    name: str
    description: str
    accelerator: Accelerator
    platforms: tuple[Platform, ...]
    default_backend: str
    default_model: str
    backends: Mapping[str, VlmServer]
    api: PipelineApi | None
    refuses: Mapping[str, str] = field(default_factory=FrozenDict)  # backend -> why it cannot run here
    compute_capability: str | None = None  # version specifier, NVIDIA only
    driver: Driver | None = None
    devices: Devices = field(default_factory=Devices)
    api_waits_for_vlm: bool = False  # both on one card: the VLM server takes its memory first


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """One target with the backend, model and variant that its containers run."""

    target: Target
    backend: Backend
    model: Model
    variant: Variant

    @property
    def vlm(self) -> VlmServer:
        """The target's VLM server for this stack's backend."""
        return self.target.backends[self.backend.name]

    @property
    def name(self) -> str:
        """Directory below `compose/`: the target, then whatever differs from its defaults."""
        parts = [self.target.name]
        if self.backend.name != self.target.default_backend:
            parts.append(self.backend.name)
        if self.model.name != self.target.default_model:
            parts.append(self.model.name)
        if self.variant is Variant.OFFLINE:
            parts.append("offline")
        return "-".join(parts)
