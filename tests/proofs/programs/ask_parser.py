"""Asks a server's own argument parser what it takes, and whether it takes given configuration files.

Runs in the interpreter that has the server: the standard library and that server, nothing of paddock's.

usage: ask_parser.py vllm|sglang < REQUEST > ANSWER
REQUEST   JSON: {"configurations": {name: {"file": "vlm.yaml" | "vlm.conf", "text": ...}}}
ANSWER    the last line of stdout, JSON:
          {"version": ..., "options": {option: [how many values, type, choices]}, "environment": [names],
           "refused": {name of a configuration: the parser's reason}}
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# A parser needs no network, and some servers would ask for a card or count a use when they are imported.
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

Parse = Callable[[list[str]], object]


def vllm() -> tuple[argparse.ArgumentParser, Parse, Iterable[str]]:
    """The parser of `vllm serve`; the module moved between versions."""
    import vllm.envs  # noqa: PLC0415

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

    def parse(options: list[str]) -> object:
        if "--config" in options:
            merger = importlib.import_module("sglang.srt.utils.server_args_config_parser").ConfigArgumentMerger
            options = merger(parser).merge_config_with_args(options)
        return parser.parse_args(options)

    return parser, parse, ()


def grammar(parser: argparse.ArgumentParser) -> dict[str, list[Any]]:
    """Each option with how many values it takes (0, 1, or argparse's sign), their type's name and the choices."""
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
        return said.getvalue().strip().splitlines()[-1] if said.getvalue().strip() else "it ended without a reason"
    except (ValueError, TypeError, KeyError, argparse.ArgumentTypeError, argparse.ArgumentError) as failure:
        return f"{type(failure).__name__}: {failure}"
    return ""


def main() -> None:
    """Read the request, ask, print the answer."""
    server = sys.argv[1]
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
