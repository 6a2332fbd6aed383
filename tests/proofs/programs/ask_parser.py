"""Asks a server's own argument parser what it takes, and whether it takes given configuration files.

Runs in the interpreter that has the server: the standard library and that server, nothing of paddock's.

usage: ask_parser.py vllm|sglang [EMPTY]... < REQUEST > ANSWER
EMPTY     a module that cannot be had here and only matters for computing; an empty one takes its place
REQUEST   JSON: {"configurations": {name: {"file": "vlm.yaml" | "vlm.conf", "text": ...}}}
ANSWER    the last line of stdout, JSON:
          {"version": ..., "options": {option: [how many values, type, choices]}, "environment": [names],
           "refused": {name of a configuration: the parser's reason}}
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import io
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# A parser needs no network, and some servers would ask for a card or count a use when they are imported.
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

Parse = Callable[[list[str]], object]


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules that cannot be had, and makes them of nothing: every name in them is a class."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, *_more: object) -> importlib.machinery.ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self._names):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        vars(module).update(__version__="0", __getattr__=_empty_class)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def _empty_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def vllm() -> tuple[argparse.ArgumentParser, Parse, Iterable[str]]:
    """The parser of `vllm serve`; modules moved between versions."""
    import vllm.envs  # noqa: PLC0415
    import vllm.platforms  # noqa: PLC0415

    if not vllm.platforms.current_platform.device_type:
        # Built for a card, and there is none: the parser makes its defaults for a CPU instead.
        vllm.platforms._current_platform = importlib.import_module("vllm.platforms.cpu").CpuPlatform()
    try:
        arguments = importlib.import_module("vllm.entrypoints.launchers.cli_args")
    except ModuleNotFoundError:
        arguments = importlib.import_module("vllm.entrypoints.openai.cli_args")
    try:
        parsers = importlib.import_module("vllm.utils.argparse_utils")
    except ModuleNotFoundError:
        parsers = importlib.import_module("vllm.utils")
    root = parsers.FlexibleArgumentParser(prog="vllm")
    serve = arguments.make_arg_parser(root.add_subparsers(dest="subparser").add_parser("serve"))

    def parse(options: list[str]) -> None:
        arguments.validate_parsed_serve_args(root.parse_args(["serve", *options]))

    return serve, parse, vllm.envs.environment_variables


def sglang() -> tuple[argparse.ArgumentParser, Parse, Iterable[str]]:
    """The parser of `python -m sglang.launch_server`, with its own reading of a file given as --config."""
    from sglang.srt import server_args  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="sglang")
    server_args.ServerArgs.add_cli_args(parser)

    # What follows the parser wants a card; what goes before it, such as reading the file of --config, stays.
    server_args.ServerArgs.from_cli_args = classmethod(lambda _class, parsed: parsed)
    known = [name for name in vars(importlib.import_module("sglang.srt.environ").Envs) if name.isupper()]
    return parser, server_args.prepare_server_args, known


def grammar(parser: argparse.ArgumentParser) -> dict[str, list[Any]]:
    """Each option with how many values it takes (0, 1 or argparse's sign), their type's name, the choices."""
    return {
        option: [
            1 if action.nargs is None else action.nargs,
            getattr(action.type, "__name__", "str"),
            [str(choice) for choice in action.choices or ()],
        ]
        for action in parser._actions
        for option in action.option_strings
    }


def options_of(file: str, text: str, folder: Path) -> list[str]:
    """The options that a server is started with: --config FILE, or those that an options file lists."""
    if file.endswith(".yaml"):
        path = folder / file
        path.write_text(text, "utf-8")
        return ["--config", str(path)]
    found = []
    for line in text.splitlines():
        option, _, value = line.strip().partition(" ")
        if option and not option.startswith("#"):
            found += [f"--{option}", *([value.strip()] if value.strip() else [])]
    return found


def reason_against(parse: Parse, options: list[str]) -> str:
    """Why the parser refuses these options; empty when it takes them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parse(options)
    except SystemExit:
        lines = said.getvalue().strip().splitlines()
        return lines[-1] if lines else "it ended without a reason"
    except (ValueError, TypeError, KeyError, argparse.ArgumentTypeError, argparse.ArgumentError) as failure:
        return f"{type(failure).__name__}: {failure}"
    return ""


def main() -> None:
    """Read the request, ask, print the answer."""
    server, *empty = sys.argv[1:]
    sys.meta_path.insert(0, _Empty(empty))
    request = json.load(sys.stdin)
    parser, parse, environment = {"vllm": vllm, "sglang": sglang}[server]()
    refused = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, given in request["configurations"].items():
            reason = reason_against(parse, options_of(given["file"], given["text"], Path(folder)))
            if reason:
                refused[name] = reason
    answer = {
        "version": importlib.metadata.version(server),
        "options": grammar(parser),
        "environment": sorted(environment),
        "refused": refused,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
