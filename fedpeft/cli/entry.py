# SPDX-License-Identifier: Apache-2.0
"""Where the command line starts, and the one place where an exception becomes a line and an exit code.

===  =====================================================================
0    done
1    it failed; ``--traceback`` shows where
2    bad input, a line for each thing to mend
130  interrupted
===  =====================================================================
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click

from fedpeft import __version__
from fedpeft.cli.frame import Group, Switches

COMMANDS: Final = (
    "new",
    "plan",
    "select",
    "simulate",
    "synthesize",
    "resume",
    "evaluate",
    "report",
    "watch",
    "init",
    "site",
    "node",
    "bundle",
    "ledger",
    "audit",
    "config",
    "doctor",
    "completion",
)
"""Every command, in the order of the help; each is the object ``command`` of the module of that name."""


_COMPLETES: Final = "_FEDPEFT_COMPLETE"
"""A shell sets it when it asks how a line may go on."""


class _LazyCommands(Group):
    """Imports the module of a command when the command is looked at, and no earlier."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"fedpeft.cli.{cmd_name}").command
        return command


_EPILOG = "\n".join(
    (
        "\b",
        "Examples:",
        "  fedpeft new run.toml                            write a TOML from five questions",
        "  fedpeft config check run.toml                   is it sound?",
        "  fedpeft plan run.toml                           what will it cost? Nothing is trained",
        "  fedpeft simulate run.toml --out runs/first      train over all organizations, here",
        "  fedpeft ledger verify runs/first/ledger         what was spent, counted again",
    )
)


@click.group(cls=_LazyCommands, epilog=_EPILOG)
@click.version_option(__version__, message="%(prog)s %(version)s")
def _fedpeft() -> None:
    """Train a language-model adapter over several organizations, with differential privacy at each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; default: those of the process.

    Returns:
        The exit code.
    """
    switches = Switches()
    if _COMPLETES in os.environ:
        from fedpeft.cli import bash

        bash.register()
    try:
        result = _fedpeft.main(arguments, prog_name="fedpeft", standalone_mode=False, obj=switches)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _refuse_usage(error)
    except click.Abort as abort:
        if isinstance(abort.__cause__, EOFError):  # click takes the end of a damaged file for a Ctrl-D
            return _fail(abort.__cause__, switches)
        click.echo("interrupted", err=True)
        return 130
    except Exception as error:
        return _fail(error, switches)
    return int(result or 0)


def _refuse_usage(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see `{context.command_path} --help`)" if context else ""
    _say(error.format_message() + hint)
    return error.exit_code


def _fail(error: Exception, switches: Switches) -> int:
    from fedpeft.errors import FedpeftError, UserError

    if switches.traceback:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, UserError):
        for problem in error.problems:
            _say(problem)
        return 2
    name = "" if isinstance(error, FedpeftError) else f"{type(error).__name__}: "
    _say(f"{name}{error} (--traceback shows where)")
    return 1


def _say(problem: str) -> None:
    click.echo(f"error: {' '.join(problem.split())}", err=True)
