# SPDX-License-Identifier: Apache-2.0
"""``fedpeft completion``: what makes a shell complete commands, options, files and keys of ``--set``."""

from __future__ import annotations

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

_LOADED_BY = {
    "bash": 'eval "$(fedpeft completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(fedpeft completion zsh)" in ~/.zshrc',
    "fish": "fedpeft completion fish > ~/.config/fish/completions/fedpeft.fish",
}


@frame.command("completion", example=tuple(f"completion {shell}" for shell in _LOADED_BY))
@click.argument("shell", type=click.Choice(list(_LOADED_BY)))
def command(shell: str) -> Answer:
    """Print the script that makes a shell complete this command.

    To load it: `eval "$(fedpeft completion bash)"` in ~/.bashrc, likewise zsh in ~/.zshrc, or
    `fedpeft completion fish > ~/.config/fish/completions/fedpeft.fish`.
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    found = get_completion_class(shell)
    assert found is not None
    assert root.info_name is not None
    script = found(root.command, {}, root.info_name, f"_{root.info_name.upper()}_COMPLETE").source()
    return Answer({"shell": shell, "script": script, "load": _LOADED_BY[shell]}, script)
