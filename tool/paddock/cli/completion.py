"""`paddock completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from paddock import console
from paddock.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print shell completion; put it where SHELL looks.

    \b
    bash:  paddock completion bash > ~/.local/share/bash-completion/completions/paddock
    zsh:   paddock completion zsh  > "${fpath[1]}/_paddock"
    fish:  paddock completion fish > ~/.config/fish/completions/paddock.fish
    """
    shell_class = get_completion_class(shell)
    if shell_class is None:  # click knows the three
        raise UsageError(f"{shell}: no completion for this shell")
    console.result(shell_class(context.find_root().command, {}, "paddock", "_PADDOCK_COMPLETE").source())
