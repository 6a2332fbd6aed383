"""Running `docker buildx bake`: its argument list, and its output as steps that people can follow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from paddock import process
from paddock.building.settings import BuildSettings
from paddock.errors import EngineError, ProgramError
from paddock.render.renderer import BAKE_FILE
from paddock.report import Reporter, clipped

SHOWN_OF_FAILURE = 40  # lines
_WIDTH = 110  # columns of a step on the terminal
_SLOW = 1.0  # seconds after which the end of a step is said, too
_STEP = re.compile(r"^#(?P<number>\d+) \[(?P<image>[\w.-]+) (?P<stage>[^\]]*)\] (?P<instruction>[A-Z]+ .*)$")
_DONE = re.compile(r"^#(?P<number>\d+) DONE (?P<seconds>[\d.]+)s$")


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeCommand:
    """One `docker buildx bake`, ready to run in the workspace."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def bake_command(
    group: str,
    settings: BuildSettings,
    *,
    revision: str,
    epoch: int,
    checkout: Path | None = None,
    stand_ins: Mapping[str, str] | None = None,
    stand_in_packages: bool = False,
    preprocessor: bool = False,
    no_cache: bool = False,
) -> BakeCommand:
    """The command that builds a group, or a target, of the bake file.

    `epoch` is SOURCE_DATE_EPOCH in seconds. `checkout` is the source tree that the tool's image carries.
    `stand_ins` maps the name in a FROM to the image to build on instead; with `stand_in_packages`, PyPI's
    packages are taken where a vendor's index cannot be reached. With `preprocessor`, offline images hold the
    weights of the document preprocessor, too.
    """
    argv = ["docker", "buildx", "bake", "--progress=plain", f"--file={BAKE_FILE}"]
    argv += [f"--set=*.contexts.{name}=docker-image://{image}" for name, image in (stand_ins or {}).items()]
    argv += ["--no-cache"] if no_cache else []
    environment = {
        "REVISION": revision,
        "CREATED": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SOURCE_DATE_EPOCH": str(epoch),
        "IMAGE_PREFIX": settings.image_prefix,
        "CHECKOUT": str(checkout or ""),
        "MODELS_DIR": str(settings.models_dir),
        "DOC_PREPROCESSOR": "1" if preprocessor else "",
        "STAND_IN": "1" if stand_in_packages else "",
        "BASE_REGISTRY": settings.base_registry,
        "WHEELHOUSE": str(settings.wheelhouse or ""),
        "UNLOCKED_WHEELS": "1" if settings.unlocked_wheels else "",
        "CA_BUNDLE": str(settings.ca_bundle or ""),
        "PIP_INDEX_URL": settings.pip_index_url,
        "APT_MIRROR": settings.apt_mirror,
        "HTTP_PROXY": settings.http_proxy,
        "HTTPS_PROXY": settings.https_proxy,
        "NO_PROXY": settings.no_proxy,
    }
    return BakeCommand(argv=(*argv, group), environment=environment)


# --- running it ---------------------------------------------------------------------------------------------


def run(
    command: BakeCommand, settings: BuildSettings, workspace: Path, *, log: str, report: Reporter
) -> None:
    """Run the build in `workspace`: steps go to `report`, all output to `.paddock/<log>` in the workspace.

    Raises ProgramError with the end of the step that failed, EngineError where the disk is full.
    """
    _say_settings(settings, report)
    report.say(f"$ {process.command_line(command.argv)}")
    path = workspace / ".paddock" / log
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = _Steps(report)
    with path.open("w", encoding="utf-8") as written:

        def on_line(line: str) -> None:
            written.write(line + "\n")
            steps.see(line)

        try:
            process.stream(command.argv, on_line=on_line, cwd=workspace, environment=command.environment)
        except ProgramError as failure:
            written.flush()
            raise _explained(path) from failure


def _say_settings(settings: BuildSettings, report: Reporter) -> None:
    sources = {
        "wheels from": settings.wheelhouse,
        "certificates from": settings.ca_bundle,
        "base images from": settings.base_registry,
        "Python packages from": settings.pip_index_url and "the index in PIP_INDEX_URL",
        "Debian packages from": settings.apt_mirror and "the mirror in APT_MIRROR",
    }
    for what, source in sources.items():
        if source:
            report.say(f"{what} {source}")


class _Steps:
    """Says each step of a build once when it starts, and again when it took long. The rest is in the log."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._steps: dict[str, str] = {}  # by their numbers in buildx's output

    def see(self, line: str) -> None:
        """Take one line of what buildx prints."""
        if started := _STEP.match(line):
            self._start(started["number"], f"{started['image']}: {_bare(started['instruction'])}")
        elif done := _DONE.match(line):
            self._end(done["number"], float(done["seconds"]))

    def _start(self, number: str, step: str) -> None:
        if number not in self._steps:
            self._steps[number] = clipped(step, _WIDTH)
            self._report.say(self._steps[number])

    def _end(self, number: str, seconds: float) -> None:
        if number in self._steps and seconds >= _SLOW:
            self._report.say(f"{self._steps[number]} ({seconds:.1f} s)")


def _bare(instruction: str) -> str:
    """Without the mounts of a RUN, which say nothing about what it does."""
    return re.sub(r"--mount=\S+\s+", "", instruction)


def _explained(log: Path) -> ProgramError | EngineError:
    """The failure with the last lines of its step, which buildx repeats at the end between two rules."""
    lines = log.read_text("utf-8").splitlines()
    start = lines.index("------") if "------" in lines else 0
    step = [line for line in lines[start:] if line.strip("-")]
    shown = "\n".join(f"  | {line}" for line in step[-SHOWN_OF_FAILURE:])
    if any("no space left on device" in line.lower() for line in lines):
        return EngineError(
            f"the build ran out of disk space\n{shown}",
            hint="`docker system df` shows what takes it; `docker builder prune` frees the build cache",
        )
    return ProgramError(f"the build failed\n{shown}", hint=f"the whole output: {log}")
