"""The command line. Commands are thin: they read options, call one operation and print what it returns.

Nothing is loaded before it is used: every command pays at each start for what it imports, and a site has no
use for templates and a renderer.

- a command's module is imported when that command is named, so `paddock --help` needs none of them;
- at its top, that module imports click, the console and what declares its options; what it names in
  annotations only stands under TYPE_CHECKING;
- each function imports the operation that it calls, so `paddock COMMAND --help` and wrong usage are answered
  at once.

tests/unit/cli/test_startup.py holds every command of a site to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from keyword import iskeyword

import click

from paddock import __version__


@dataclass(frozen=True, slots=True)
class _Command:
    module: str
    summary: str


# In the order in which a newcomer meets them; the summaries stand here so that help needs no imports.
COMMANDS: dict[str, _Command] = {
    "render": _Command(
        "render", "Write images/ and compose/ from the templates, or check that they are current."
    ),
    "build": _Command("build", "Build the two images of a target, or the image of the tool."),
    "models": _Command("models", "Fetch model weights, check them, or make small test weights."),
    "tune": _Command("tune", "Size a VLM server for a card; each value with its origin."),
    "up": _Command("launch", "Start a stack and wait until it has parsed a page."),
    "down": _Command("launch", "Stop a stack."),
    "status": _Command("operate", "Show state, health, ports, model, versions and memory of a stack."),
    "config": _Command("config", "Show and change the settings of a stack, each with its origin."),
    "smoke": _Command("smoke", "Ask a running stack for every task and compare what it reads."),
    "logs": _Command("operate", "Show what the containers of a stack print."),
    "doctor": _Command("doctor", "Check what a build needs here, and whether every base image can be had."),
    "keys": _Command("keys", "Add, list or revoke the keys of a pipeline API's clients."),
    "parse": _Command("parse", "Send documents to a pipeline API; keep Markdown, JSON and layout pictures."),
    "export": _Command("export", "Write images and stack into parts that can be carried across an air gap."),
    "keygen": _Command("bundle", "Make a key pair that signs bundles."),
    "sign": _Command("bundle", "Sign a bundle."),
    "verify": _Command(
        "bundle", "Compare every byte of a bundle with its manifest; name what to send again."
    ),
    "import": _Command("site", "Bring a bundle's images and stack to this host, everything checked first."),
    "receipt": _Command("site", "Write down what this site holds: the base of the next delta."),
    "rollback": _Command("site", "Go back to what was here before the last import."),
    "trust": _Command("trust", "List, add or remove the keys whose bundles are taken here."),
    "bundle": _Command("bundle", "Show what is in a bundle, or compare two."),
    "completion": _Command("completion", "Print shell completion for bash, zsh or fish."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"paddock.cli.{COMMANDS[cmd_name].module}")
        command: click.Command = getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def paddock() -> None:
    """Build, launch and operate PaddleOCR-VL document parsing on your own hardware."""
