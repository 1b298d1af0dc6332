# SPDX-License-Identifier: Apache-2.0
"""``fedpeft new``: a commented TOML for a run of one's own, from five questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from fedpeft.config.new_run import Answers

T = TypeVar("T")


@frame.command(
    "new",
    example=(
        "new run.toml",
        "new run.toml --sites north,south --records 'data/{name}.jsonl' --units 2000,3000 --yes",
    ),
)
@click.argument("path", metavar="[RUN.toml]", default="run.toml", type=click.Path(path_type=Path))
@click.option("--sites", metavar="NAMES", help="Organizations, with commas. [default: north,south]")
@click.option("--records", metavar="PATH", help="Of each; {name} is its name. [default: {name}.jsonl]")
@click.option("--units", metavar="NUMBERS", help="Public number of units: one for all, or one for each.")
@click.option(
    "--unit", metavar="COLUMN", help="What is protected as one: record, or a column. [default: record]"
)
@click.option("--epsilon", metavar="NUMBER", help="Most that an organization spends. [default: 8]")
@click.option("--yes", is_flag=True, help="Ask nothing: take the defaults of what is not given.")
def command(path: Path, yes: bool, **given: str | None) -> Answer:
    """Ask five questions, each of which an option answers, and write a commented TOML."""
    from fedpeft.config import load_config, warnings_of
    from fedpeft.config.new_run import new_run
    from fedpeft.errors import ConfigError

    if path.exists():
        raise ConfigError(f"{path}: exists already; name another file, or remove it")
    text = new_run(_answers(given, yes))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another file") from error
    config = load_config(path)
    then = [f"fedpeft {verb} {path}" for verb in ("config check", "plan", "simulate")]
    told = str(config).removeprefix("<RunConfig ").removesuffix(">")
    lines = [f"{path} is written: {told}"]
    lines += [f"warning: {warning}" for warning in warnings_of(config)]
    lines += ["next:", *(f"  {line}" for line in then)]
    return Answer({"file": str(path), "warnings": warnings_of(config), "next": then}, "\n".join(lines))


def _answers(given: dict[str, str | None], yes: bool) -> Answers:
    from fedpeft.config.new_run import Answers, check_records, check_sites, check_units

    def ask(name: str, question: str, default: str | None, read: Callable[[str], T]) -> T:
        return _ask(name, question, default, read, given[name], yes)

    def sites(text: str) -> tuple[str, ...]:
        return _checked(_words(text), check_sites)

    names = ask("sites", "Which organizations take part? Names, with commas", "north,south", sites)

    def records(text: str) -> str:
        return _checked(text, lambda found: check_records(found, len(names)))

    def units(text: str) -> tuple[int, ...]:
        return _checked(_numbers(text), lambda found: check_units(found, len(names)))

    return Answers(
        sites=names,
        records=ask("records", "Where are their records? {name} is the name", "{name}.jsonl", records),
        units=ask("units", "How many units has each? A public figure: one, or one for each", None, units),
        unit=ask("unit", "What is protected as one unit: record, or a column", "record", _text),
        epsilon=ask("epsilon", "How much may be learned of a unit at most (epsilon)", "8", _epsilon),
    )


def _ask(
    name: str, question: str, default: str | None, read: Callable[[str], T], given: str | None, yes: bool
) -> T:
    """The answer that an option gives, else the default, else the user; a wrong one is asked for again."""
    from fedpeft.errors import ConfigError

    if given is None and yes and default is None:
        raise ConfigError(f"--{name}: is not given, and it has no default; add it")
    if given is not None or yes:
        return read(given if given is not None else str(default))

    def again(text: Any) -> T:
        try:
            return read(text)
        except ConfigError as error:
            raise click.BadParameter(str(error)) from error

    try:
        found: T = click.prompt(question, default=default, value_proc=again, err=True)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise
        click.echo(err=True)
        raise ConfigError(f"--{name}: is not given, and nobody is there to be asked; add it") from None
    return found


def _checked(found: T, check: Callable[[T], None]) -> T:
    check(found)
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[int, ...]:
    from fedpeft.errors import ConfigError

    try:
        found = tuple(int(word.replace("_", "")) for word in _words(text))
    except ValueError:
        found = ()
    if not found:
        raise ConfigError(
            f'units = "{text}": must be whole numbers with commas, like 2000,3000; write them so'
        )
    return found


def _text(text: str) -> str:
    from fedpeft.errors import ConfigError

    if not text.strip():
        raise ConfigError('unit = "": must not be empty; name a column, or record')
    return text.strip()


def _epsilon(text: str) -> float:
    from fedpeft.errors import ConfigError

    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ConfigError(f'epsilon = "{text}": must be a finite number above 0; 8 is usual, 1 is strict')
    return found
