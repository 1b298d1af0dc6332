# SPDX-License-Identifier: Apache-2.0
"""Every exception a caller can meet, in one tree.

::

    FedpeftError
    ├── UserError            bad input; the command line exits with 2
    │   ├── ConfigError      the run's TOML, --set, a preset
    │   ├── DataError        a data file, a column, an encoding
    │   ├── BackboneError    a model that cannot be loaded or trained
    │   └── RunDirectoryError  an output folder that exists, is not a run, has no space
    ├── EventError           a privacy event that no accountant here can compose
    ├── LedgerError          a ledger that must not be used (another identity, edited, newer, locked)
    ├── Refusal              a site's answer to a request it will not serve; carries an enumerated code
    └── MechanismError       the private step was given something that would break its guarantee

A message names the field, the value, the bound and the mend. ``Refusal`` is the only error that may
travel from a site, and of it only the code does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedpeft.types import RefusalCode


class FedpeftError(Exception):
    """Base of every error that this package raises on purpose."""


class UserError(FedpeftError):
    """Something the user gave cannot be used; the message says how to mend it."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        """Hold one problem or several; all of them are shown together, one line each."""
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(UserError):
    """The run configuration is not valid."""


class DataError(UserError):
    """A data file is absent, unreadable, or lacks what the configuration names."""


class BackboneError(UserError):
    """The backbone cannot be found, loaded, or trained under privacy."""


class RunDirectoryError(UserError):
    """The output folder exists already, is not a run, or cannot be written."""


class EventError(FedpeftError):
    """A privacy event is not one of ours, or a field of it is out of its range; it was not composed."""


class LedgerError(FedpeftError):
    """The privacy ledger must not be used as it is; nothing was charged."""


class MechanismError(FedpeftError):
    """The private step was given something that would break its guarantee; nothing was released."""


class Refusal(FedpeftError):  # noqa: N818 - a site's answer, not a mistake
    """A site's refusal. ``code`` depends on the request and the ledger only, and is all that leaves."""

    def __init__(self, code: RefusalCode, detail: str = "") -> None:
        """Keep ``detail`` for the site's own log; it is never sent."""
        self.code = code
        self.detail = detail
        super().__init__(f"{code.value}: {detail}" if detail else code.value)


def together(*checks: Callable[[], Any]) -> list[Any]:
    """Call every check, whatever the others find; their results, in order.

    Raises:
        UserError: the one that a check raised, or one with the problems of all.
    """
    results: list[Any] = []
    errors: list[UserError] = []
    for check in checks:
        try:
            results.append(check())
        except UserError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise UserError([problem for error in errors for problem in error.problems])
    return results


def unreadable(error: ValueError | RecursionError) -> str:
    """What stands in a file that its reader gave up on, with the mend."""
    if isinstance(error, RecursionError):
        return "is nested too deeply; make it flat"
    return f"{str(error).partition(';')[0]}; shorten it"
