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
from paddock.report import Reporter

SHOWN_OF_FAILURE = 40  # lines
_STEP = re.compile(r"^#(?P<number>\d+) \[(?P<image>[\w.-]+) (?P<stage>[^\]]*)\] (?P<instruction>[A-Z]+ .*)$")
_DONE = re.compile(r"^#(?P<number>\d+) DONE (?P<seconds>[\d.]+)s$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """One bake command, ready to run in the workspace."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def bake_plan(
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
) -> Build:
    """The command that builds a group, or a target, of the bake file.

    `epoch` is SOURCE_DATE_EPOCH in seconds; `checkout` is what the tool's image carries; `stand_ins` maps the
    name in a FROM to the image to build on instead. `stand_in_packages`: take PyPI's packages where a
    vendor's index cannot be reached; `preprocessor`: offline images hold the weights of the document
    preprocessor too.
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
        "CA_BUNDLE": str(settings.ca_bundle or ""),
        "PIP_INDEX_URL": settings.pip_index_url,
        "APT_MIRROR": settings.apt_mirror,
        "HTTP_PROXY": settings.http_proxy,
        "HTTPS_PROXY": settings.https_proxy,
        "NO_PROXY": settings.no_proxy,
    }
    return Build(argv=(*argv, group), environment=environment)


def _say_settings(settings: BuildSettings, report: Reporter) -> None:
    given = {
        "wheels from": settings.wheelhouse,
        "certificates from": settings.ca_bundle,
        "base images from": settings.base_registry,
        "Python packages from": settings.pip_index_url and "the index in PIP_INDEX_URL",
        "Debian packages from": settings.apt_mirror and "the mirror in APT_MIRROR",
    }
    for what, value in given.items():
        if value:
            report.say(f"{what} {value}")


# --- the build itself ---------------------------------------------------------------------------------------


def run(command: Build, settings: BuildSettings, workspace: Path, *, log: str, report: Reporter) -> None:
    _say_settings(settings, report)
    report.say(f"$ {process.command_line(command.argv)}")
    _bake(command, workspace, workspace / ".paddock" / log, report)


def _bake(command: Build, workspace: Path, log: Path, report: Reporter) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    steps = _Steps(report)
    with log.open("w", encoding="utf-8") as written:

        def on_line(line: str) -> None:
            written.write(line + "\n")
            steps.see(line)

        try:
            process.stream(command.argv, on_line=on_line, cwd=workspace, environment=command.environment)
        except ProgramError as failure:
            written.flush()
            raise _explained(log) from failure


class _Steps:
    """Says each step of a build once when it starts and once when it took long; the rest is in the log."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._names: dict[str, str] = {}

    def see(self, line: str) -> None:
        if match := _STEP.match(line):
            number = match["number"]
            if number not in self._names:
                self._names[number] = f"{match['image']}: {match['instruction']}"
                self._report.say(_shortened(self._names[number]))
        elif (match := _DONE.match(line)) and float(match["seconds"]) >= 1 and match["number"] in self._names:
            self._report.say(f"{_shortened(self._names[match['number']])} ({match['seconds']} s)")


def _shortened(text: str, width: int = 110) -> str:
    # The mounts of a RUN say nothing about what it does.
    text = re.sub(r"--mount=\S+\s+", "", text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _explained(log: Path) -> ProgramError | EngineError:
    """The failing step's own last lines, which buildx repeats at the end between two rules."""
    lines = log.read_text("utf-8").splitlines()
    start = next(
        (number for number, line in enumerate(lines) if line == "------"),
        max(0, len(lines) - SHOWN_OF_FAILURE),
    )
    shown = [line for line in lines[start:] if line.strip("-")][-SHOWN_OF_FAILURE:]
    text = "\n".join(f"  | {line}" for line in shown)
    if any("no space left on device" in line.lower() for line in lines):
        return EngineError(
            f"the build ran out of disk space\n{text}",
            hint="docker system df shows what takes it; docker builder prune frees the build cache",
        )
    return ProgramError(f"the build failed\n{text}", hint=f"the whole output: {log}")
