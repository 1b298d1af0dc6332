# SPDX-License-Identifier: Apache-2.0
"""What every command has in common: an example in its help, ``--json``, ``--traceback``, its output.

A command returns an ``Answer`` and prints nothing to standard output itself; progress goes to standard
error. With ``--json`` standard output holds one JSON document and nothing else, whatever a library prints.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fedpeft.types import JsonDict


@dataclass
class Switches:
    """What the user asked of the command line itself."""

    traceback: bool = False


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    Attributes:
        data: for machines.
        text: for people: a text, or anything that rich can print.
        exit_code: 1 where the command did its work and found something wrong.
    """

    data: JsonDict
    text: RenderableType
    exit_code: int = 0


def command(
    name: str, *, example: str, within: click.Group | None = None
) -> Callable[[Callable[..., Answer]], click.Command]:
    """Make a function a command; its docstring is the help.

    Args:
        name: of the command.
        example: the arguments of a useful call, without ``fedpeft``.
        within: the group that the command is part of, if any.
    """

    def decorate(function: Callable[..., Answer]) -> click.Command:
        @functools.wraps(function)
        def run(*, as_json: bool, **arguments: Any) -> int:
            quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
            with quiet:
                answer = function(**arguments)
            _print(answer, as_json)
            return answer.exit_code

        made = click.command(name, epilog=_epilog(example))(_traceback(_json(run)))
        if within is not None:
            within.add_command(made)
        return made

    return decorate


def group(name: str, *, example: str) -> Callable[[Callable[[], None]], click.Group]:
    """Make a function the head of a group of commands; its docstring is the help."""
    return click.group(name, epilog=_epilog(example))


def run_file(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments ``path`` and ``overrides``: a run's TOML and any number of ``--set KEY=VALUE``."""
    add_set = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a key, like privacy.epsilon=4 or sites.NAME.declared_units=500; may be repeated.",
    )
    return click.argument("path", metavar="RUN.toml", type=click.Path())(add_set(function))


def with_baselines(function: Callable[..., Any]) -> Callable[..., Any]:
    """The switch ``--baselines``."""
    return click.option(
        "--baselines",
        is_flag=True,
        help="Then train, NOT PRIVATE, what the run is to be compared with: each site alone, pooled and "
        "federated without privacy.",
    )(function)


def _print(answer: Answer, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer.data, indent=2, ensure_ascii=False, allow_nan=False))
    elif isinstance(answer.text, str):
        click.echo(answer.text)
    else:
        from rich.console import Console

        Console().print(answer.text)


def _epilog(example: str) -> str:
    return f"\b\nExample:\n  fedpeft {example}"


def _note_traceback(context: click.Context, _: click.Parameter, is_set: bool) -> None:
    if is_set:
        context.ensure_object(Switches).traceback = True


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
_traceback = click.option(
    "--traceback",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_note_traceback,
    help="Show where an error came from.",
)
