"""The records of the matrix: what a target, a backend and a model are, and the stack that joins one of each.

Pure data. `paddock.matrix.load` fills these from `templates/{targets,backends,models}/*.yaml`, strictly; the
field names here are the keys of those files. Sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from paddock.matrix.fieldtypes import FrozenDict, Pattern

# A version stands in an image's history and in a lock: one version, never a range, never `latest`.
Pin = Annotated[str, Pattern(r"v?[0-9][0-9A-Za-z.+_-]*", 'one exact version such as "3.7.2"')]
PythonVersion = Annotated[str, Pattern(r"3\.[0-9]+", 'a Python as major.minor such as "3.11"')]
Size = Annotated[str, Pattern(r"[1-9][0-9]*[kmg]", 'a size in Compose\'s notation such as "4g"')]
HttpPath = Annotated[str, Pattern(r"/[!-~]*", 'a path such as "/health"')]
Url = Annotated[str, Pattern(r"https?://[!-~]+", "an http or https URL")]
RepositoryId = Annotated[str, Pattern(r"[\w.-]+/[\w.-]+", "a repository as owner/name")]
Capabilities = Annotated[
    str,
    Pattern(
        r"(?:[<>=!]=|[<>])[0-9.]+(?:,(?:[<>=!]=|[<>])[0-9.]+)*", 'compute capabilities such as ">=8.0,<10.0"'
    ),
]
Tagged = Annotated[
    str, Pattern(r"[\w.-]+(/[\w.-]+)+:(?!latest)[\w.-]+", "an image as host/name:tag, not a moving tag")
]
ImageFile = Annotated[str, Pattern(r"[\w.-]+/[\w.-]+", "a file below templates/image: folder/name")]
Sha256 = Annotated[str, Pattern(r"[0-9a-f]{64}", "a SHA-256 of 64 hexadecimal digits")]
DirectoryName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of one directory")]


IMAGE_PREFIX = "paddock/"  # in front of the names of our images unless IMAGE_PREFIX says otherwise
RUN_AS_UID = 10001  # the user of our containers unless RUN_AS says otherwise; the group is always 0


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

    @classmethod
    def of(cls, *, offline: bool) -> Variant:
        """The variant that the command line's `--offline` stands for."""
        return cls.OFFLINE if offline else cls.ONLINE


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


class ServerRole(StrEnum):
    """What a server does in a stack; its service in the Compose file has the same name."""

    API = "api"
    VLM = "vlm"


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
    """One directory of weights. `name` is upstream's directory name; it has a source or is made."""

    name: DirectoryName
    role: WeightsRole
    bos: Url | None = None  # URL of a tar
    huggingface: RepositoryId | None = None  # repository id
    modelscope: RepositoryId | None = None  # repository id
    sha256: Mapping[str, Sha256] = field(default_factory=FrozenDict)  # file -> hash, where one is known
    bos_sha256: Sha256 | None = None  # of the tar
    made: bool = False  # paddock carries what it takes and writes the files itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """How PaddleX names the parts of a document pipeline around a model."""

    name: str  # `pipeline_name` in PaddleX's configuration
    layout_model: str  # LayoutDetection.model_name
    # One score for all classes; None leaves PaddleX's values for each class of the model.
    layout_threshold: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Memory that a model takes while it is served, for `paddock tune`. Weights in 16 bits."""

    weights: float  # GiB
    kv_per_token: int  # bytes of KV cache
    batch_per_token: int  # bytes of working memory for each token of one step
    request_tokens: int  # of an ordinary request: image, prompt and answer
    layout: float  # GiB that its layout model takes in the pipeline API


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
    cards: int = 1  # that one server needs together
    # Setting -> GB of each card; none: no limit is known.
    quantizations: Mapping[str, int] = field(default_factory=FrozenDict)
    code: Mapping[str, tuple[Sha256, ...]] = field(default_factory=FrozenDict)  # Python that may be run
    chat_template: DirectoryName | None = None  # file of the VLM weights, for servers that must be told
    footprint: Footprint | None = None  # None: nobody has worked it out
    # Backend -> options of its server that go before the target's: what the model cannot do without.
    settings: Mapping[str, Mapping[str, str | int | float | bool]] = field(default_factory=FrozenDict)

    def weight_set(self, role: WeightsRole) -> WeightSet | None:
        """The set with that role, if the model has one."""
        return next((weights for weights in self.weights if weights.role is role), None)

    @property
    def made(self) -> bool:
        """Whether paddock makes its weights instead of fetching them."""
        return any(weights.made for weights in self.weights)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a serving program calls the options that the stack decides, without dashes."""

    served_name: str
    model: str | None = None  # None: its start script looks for files in the weight set (PADDOCK_MODEL_DIR)
    chat_template: str | None = None  # for a program that else guesses a template by the model's name


class Counts(StrEnum):
    """What the memory share of a server covers."""

    SERVER = "server"  # all that the server takes: weights, KV cache, working memory
    STATIC = "static"  # weights and KV cache; working memory comes on top
    CARD = "card"  # all that is taken on the card, by whomever


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An environment variable that may make a server faster, and what it costs. Never set unasked."""

    name: str
    value: str
    gain: str
    price: str
    compute_capability: Capabilities | None = None  # of the cards that it works on


@dataclass(frozen=True, kw_only=True, slots=True)
class Tunable:
    """What a serving program calls the options that memory decides, and what it takes beside the model."""

    context: str  # tokens of one request
    sequences: str  # requests at once
    program: float  # GiB of the program itself: libraries, kernels, captured graphs
    share: str | None = None  # part of the card's memory; None: it takes what it needs
    share_counts: Counts = Counts.SERVER
    batch: str | None = None  # tokens of one step
    context_of_all: bool = False  # `context` counts for all requests together
    most_sequences: int | None = None
    offers: tuple[Offer, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextFiles:
    """The files of templates/image that a build context holds, because its Dockerfile names them."""

    always: tuple[ImageFile, ...] = ()
    # Package -> further files, where the image holds that package.
    with_package: Mapping[str, tuple[ImageFile, ...]] = field(default_factory=FrozenDict)
    # `paddlex --device` -> further files, for a pipeline API.
    on_device: Mapping[str, tuple[ImageFile, ...]] = field(default_factory=FrozenDict)

    def of(self, image: Image, device: str | None = None) -> tuple[str, ...]:
        """The files for one image; `device` is that of a pipeline API."""
        held = {*image.pins, *image.base.provides}
        conditional = [
            *(names for package, names in self.with_package.items() if package in held),
            *(names for wanted, names in self.on_device.items() if wanted == device),
        ]
        return (*self.always, *(name for names in conditional for name in names))


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """A serving program, independent of hardware."""

    name: str
    description: str
    template: str  # directory below templates/image/
    files: ContextFiles
    # YAML that the program reads itself, or lines for its start script.
    configuration: Literal["vlm.yaml", "vlm.conf"]
    options: Options
    pipeline_backend: str  # genai_config.backend of PaddleX
    weights_role: WeightsRole
    port: int
    accelerators: tuple[Accelerator, ...]
    health: HttpPath  # path that answers 200 once the model is loaded
    bad_images: Mapping[str, str] = field(default_factory=FrozenDict)  # image -> why it must not be used
    tuning: Tunable | None = None  # None: `paddock tune` does not know it


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The image that a Dockerfile starts from."""

    image: str
    debootstrap: str | None = None  # Debian suite to make the image from when no container registry answers
    provides: Mapping[str, Pin] = field(default_factory=FrozenDict)  # packages that the image already holds
    # Where a platform has an image of its own.
    platform_images: Mapping[Platform, str] = field(default_factory=FrozenDict)
    interpreter: str | None = None  # the Python that the image brings; None: Debian's python3 is installed
    accounts: Mapping[str, int] = field(default_factory=FrozenDict)  # uids that are taken in the image

    def image_on(self, platform: Platform) -> str:
        """The image on one platform."""
        return self.platform_images.get(platform, self.image)


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What one image of a target is made of. Pins are exact versions."""

    base: Base
    python: PythonVersion  # interpreter on the base, as major.minor
    pins: Mapping[str, Pin]  # package or program -> exact version
    excludes: tuple[str, ...] = ()  # requirements that must not be installed
    index: Url | None = None  # extra Python package index that holds vendor wheels
    vendor: str | None = None  # the package that comes from `index`, and only that one
    stand_in: str | None = None  # `package==version` from PyPI, for trials where `index` cannot be reached
    packages: tuple[str, ...] = ()  # Debian packages needed at run time beyond those of the template
    # Where one of `pins` cannot hold.
    platform_pins: Mapping[Platform, Mapping[str, Pin]] = field(default_factory=FrozenDict)

    def pins_on(self, platform: Platform) -> Mapping[str, str]:
        """The pins on one platform: its own go before the common ones."""
        return FrozenDict({**self.pins, **self.platform_pins.get(platform, {})})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """An image that all targets share: the one that carries paddock itself, or one of a site's."""

    platforms: tuple[Platform, ...]
    image: Image
    files: ContextFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiImages:
    """What is the same in the pipeline API's images of all targets."""

    files: ContextFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """The least host driver, as the vendor numbers it, and why."""

    minimum: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NvidiaCards:
    """The NVIDIA cards that a target runs on."""

    accelerator: Literal[Accelerator.NVIDIA]
    driver: Driver
    compute_capability: Capabilities
    memory: int | None = None  # GB of each card, where a model asks for it


@dataclass(frozen=True, kw_only=True, slots=True)
class AscendCards:
    """The Ascend cards that a target runs on."""

    accelerator: Literal[Accelerator.ASCEND]
    driver: Driver
    chip: str  # how the names of their chips begin


@dataclass(frozen=True, kw_only=True, slots=True)
class HostVariable:
    """A variable of a stack's `.env` that tells what this host calls a piece of hardware."""

    default: str
    meaning: str  # one line above it in `.env`


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """What of the host's hardware a container gets; never `privileged`.

    Texts may name a variable of `variables` as `${NAME}`; it gets its default there.
    """

    variables: Mapping[str, HostVariable] = field(default_factory=FrozenDict)
    nodes: tuple[str, ...] = ()  # device nodes
    # Path in the container -> path on the host, read-only.
    mounts: Mapping[str, str] = field(default_factory=FrozenDict)
    groups: tuple[str, ...] = ()  # supplementary groups, as numbers of the host
    environment: Mapping[str, str] = field(default_factory=FrozenDict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one container may take: memory in Compose's notation (`4g`); processes, threads included."""

    memory: Size
    shm: Size
    tmpfs: Size
    # For one process with a few pools of threads (OpenMP, OpenBLAS, OpenCV), each as large as the host has
    # cores: somebody counted 363 threads on 384 cores (vast-ai/base-image, pull request 214).
    pids: int = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineApi:
    """The pipeline API container of a target."""

    image: Image
    device: str  # `paddlex --device`
    limits: Limits
    devices: Devices = field(default_factory=Devices)  # of its own; none where the layout runs on the CPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a setting of a server wants of its image."""

    package: str
    version: str  # specifier
    instead: str  # what to write where that is not so


@dataclass(frozen=True, kw_only=True, slots=True)
class VlmServer:
    """The VLM server container of a target for one backend."""

    image: Image
    limits: Limits
    start_period: int  # seconds in which a slow load is not a failure
    settings: Mapping[str, str | int | float | bool]  # the server's own option names, without dashes in front
    environment: Mapping[str, str] = field(default_factory=FrozenDict)
    needs: Mapping[str, Need] = field(default_factory=FrozenDict)  # by setting
    compute_capability: Capabilities | None = None  # where it is narrower than the target's, NVIDIA only
    cards: int = 1  # that the container gets
    compiles: bool = False  # writes machine code below /tmp and runs it (Triton, torch.compile): no noexec


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamImage:
    """An image that upstream publishes and that a container can run in place of ours (IMAGES=upstream)."""

    image: Tagged  # without weights
    offline_image: Tagged  # with those of `model` in `weights`
    model: str
    weights: str  # directory
    uid: int  # of its own user, whose home holds the weights; never root
    provides: Mapping[str, Pin]  # packages that it holds
    environment: Mapping[str, str] = field(default_factory=FrozenDict)

    def image_of(self, variant: Variant) -> str:
        """The image of one variant."""
        return self.offline_image if variant is Variant.OFFLINE else self.image


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One hardware and software combination."""

    name: str
    description: str
    cards: NvidiaCards | AscendCards | None  # None: no accelerator
    platforms: tuple[Platform, ...]
    default_backend: str
    default_model: str
    backends: Mapping[str, VlmServer]
    api: PipelineApi | None
    refuses: Mapping[str, str] = field(default_factory=FrozenDict)  # backend -> why it cannot run here
    devices: Devices = field(default_factory=Devices)  # what the VLM server gets
    dtypes: tuple[str, ...] = ()  # all that the card computes with, by vLLM's names; none: no limit is known
    api_waits_for_vlm: bool = False  # both on one card: the VLM server takes its memory first
    upstream: Mapping[str, UpstreamImage] = field(default_factory=FrozenDict)  # by "api" or backend
    no_upstream: Mapping[str, str] = field(default_factory=FrozenDict)  # same keys -> why, and what to choose

    @property
    def accelerator(self) -> Accelerator:
        """The kind of card."""
        return Accelerator.NONE if self.cards is None else self.cards.accelerator

    @property
    def images(self) -> Mapping[str, Image]:
        """Every image that the target's stacks run, pipeline API first, by "api" or backend."""
        servers = {backend: server.image for backend, server in self.backends.items()}
        api = {} if self.api is None else {ServerRole.API.value: self.api.image}
        return FrozenDict({**api, **servers})


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One server that a stack runs."""

    role: ServerRole
    program: str  # "api" or the backend: its key in the target's data, and the name of its build context
    template: str  # directory below templates/image/
    image: Image
    weights_role: WeightsRole  # of the weights that it cannot start without
    devices: Devices


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
    def api(self) -> PipelineApi | None:
        """The target's pipeline API; None for a model without a pipeline, whose server runs alone."""
        return self.target.api if self.model.pipeline is not None else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The servers that the stack runs, pipeline API first."""
        vlm = Part(
            role=ServerRole.VLM,
            program=self.backend.name,
            template=self.backend.template,
            image=self.vlm.image,
            weights_role=self.backend.weights_role,
            devices=self.target.devices,
        )
        if self.api is None:
            return (vlm,)
        api = Part(
            role=ServerRole.API,
            program=ServerRole.API.value,
            template=ServerRole.API.value,
            image=self.api.image,
            weights_role=WeightsRole.LAYOUT,
            devices=self.api.devices,
        )
        return (api, vlm)

    @property
    def settings(self) -> Mapping[str, str | int | float | bool]:
        """The server's options: the target's, with those that the model asks for in their place."""
        return FrozenDict({**self.vlm.settings, **self.model.settings.get(self.backend.name, {})})

    @property
    def compute_capability(self) -> str:
        """Of the cards that the target and its server both run on; empty where they are not NVIDIA's."""
        if not isinstance(self.target.cards, NvidiaCards):
            return ""
        limits = (self.target.cards.compute_capability, self.vlm.compute_capability)
        conditions = [condition for limit in limits if limit for condition in limit.split(",")]
        return ",".join(dict.fromkeys(conditions))

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
