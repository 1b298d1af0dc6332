# SPDX-License-Identifier: Apache-2.0
"""Prints the page of all commands, ``docs/reference/commands.md``, made from their own help."""

from __future__ import annotations

from collections.abc import Iterator

import click

from fedpeft.cli.entry import _fedpeft as fedpeft

_HEAD = """\
# Every command

`fedpeft COMMAND --help` prints the same. All of them know `--json` (one JSON document, alone on standard
output), `--quiet` (warnings and errors only) and `--traceback`; they exit with 0 when done, 1 when it failed,
2 on bad input, 130 when interrupted. Colours are left out where `NO_COLOR` is set.
`fedpeft completion --help` says how a shell completes them.
"""


def page() -> str:
    """The page, in Markdown."""
    return (
        "\n".join([_HEAD, *_commands(fedpeft, click.Context(fedpeft, info_name="fedpeft"))]).rstrip() + "\n"
    )


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, max_content_width=100, terminal_width=100
        )
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
        else:
            yield f"## `{inner.command_path}`\n\n```text\n{command.get_help(inner)}\n```\n"


if __name__ == "__main__":
    print(page(), end="")
