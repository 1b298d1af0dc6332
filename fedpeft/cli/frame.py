# SPDX-License-Identifier: Apache-2.0
"""What every command has in common: examples in its help, ``--json``, ``--quiet``, ``--traceback``, output.

A command returns an ``Answer`` and prints nothing to standard output itself; progress goes to standard
error. With ``--json`` standard output holds one JSON document and nothing else, whatever a library prints.
With ``--quiet`` there is neither progress nor text, and warnings and errors alone are left.
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
    from click.shell_completion import CompletionItem
    from rich.console import Console, RenderableType

    from fedpeft.types import JsonDict


@dataclass
class Switches:
    """What the user asked of the command line itself."""

    traceback: bool = False
    quiet: bool = False


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


class Group(click.Group):
    """A group whose help says of each command its whole first sentence, over several lines if it must."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands; click's own cuts sentences off."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, (one.help or "").partition("\n\n")[0]) for name, one in found if one is not None]
        with formatter.section("Commands"):
            formatter.write_dl([(name, " ".join(text.split())) for name, text in rows])


def command(
    name: str, *, example: str | tuple[str, ...], within: click.Group | None = None
) -> Callable[[Callable[..., Answer]], click.Command]:
    """Make a function a command; its docstring is the help.

    Args:
        name: of the command.
        example: the arguments of a useful call, without ``fedpeft``; or of several.
        within: the group that the command is part of, if any.
    """

    def decorate(function: Callable[..., Answer]) -> click.Command:
        @functools.wraps(function)
        def run(*, as_json: bool, **arguments: Any) -> int:
            quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
            with quiet:
                answer = function(**arguments)
            if as_json or not is_quiet():
                _print(answer, as_json)
            return answer.exit_code

        made = click.command(name, epilog=_epilog(example))(_traceback(_quiet(_json(run))))
        if within is not None:
            within.add_command(made)
        return made

    return decorate


def group(name: str, *, example: str) -> Callable[[Callable[[], None]], click.Group]:
    """Make a function the head of a group of commands; its docstring is the help."""
    return click.group(name, cls=Group, epilog=_epilog(example))


def run_file(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments ``path`` and ``overrides``: a run's TOML and any number of ``--set KEY=VALUE``."""
    add_set = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=_keys,
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


def is_quiet() -> bool:
    """Whether the command that runs was called with ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.obj, Switches) and context.obj.quiet


def progress_console() -> Console:
    """Standard error for people, which says nothing under ``--quiet``."""
    from rich.console import Console

    return Console(stderr=True, quiet=is_quiet())


def _keys(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The keys that ``--set`` may change, then the values of one that has a list of them, for a shell."""
    from click.shell_completion import CompletionItem

    from fedpeft.config.schema import settable_keys, values_of

    key, equals, _ = incomplete.partition("=")
    offered = [f"{key}={value}" for value in values_of(key)] if equals else [f"{k}=" for k in settable_keys()]
    return [CompletionItem(text) for text in offered if text.startswith(incomplete)]


def _print(answer: Answer, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer.data, indent=2, ensure_ascii=False, allow_nan=False))
    elif isinstance(answer.text, str):
        click.echo(answer.text)
    else:
        from rich.console import Console

        Console().print(answer.text)


def _epilog(example: str | tuple[str, ...]) -> str:
    examples = (example,) if isinstance(example, str) else example
    head = "Example:" if len(examples) == 1 else "Examples:"
    return "\n".join(["\b", head, *(f"  fedpeft {one}" for one in examples)])


def _note(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def note(context: click.Context, _: click.Parameter, is_set: bool) -> None:
        if is_set:
            setattr(context.ensure_object(Switches), name, True)

    return note


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
_traceback = click.option(
    "--traceback",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_note("traceback"),
    help="Show where an error came from.",
)
_quiet = click.option(
    "--quiet",
    "-q",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_note("quiet"),
    help="No progress and no text: warnings, errors and the exit code alone.",
)
