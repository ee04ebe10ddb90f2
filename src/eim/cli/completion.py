"""`eim completion`: what a shell runs so that the tab key completes commands and options."""

from typing import Final

import click
from click.shell_completion import get_completion_class

_VARIABLE: Final = "_EIM_COMPLETE"  # what click looks for when the program is called `eim`


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes the tab key complete `eim` in a shell.

    \b
    bash   eim completion bash > ~/.local/share/bash-completion/completions/eim
    zsh    eim completion zsh > a file called _eim in a folder of $fpath
    fish   eim completion fish > ~/.config/fish/completions/eim.fish
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - Choice lets no other pass
    main = click.get_current_context().find_root().command
    click.echo(made(main, {}, "eim", _VARIABLE).source())
