# SPDX-License-Identifier: Apache-2.0
"""An organization's own terms, written before the first step: ``policy.toml``.

::

    identity = "st-mary"          # names the ledger; the same for ever, whatever happens to the data
    unit = "patient"              # what is protected whole: "record" or a column
    declared_units = 4000         # public; nothing that leaves depends on the true number
    epsilon = 8.0                 # for the whole life of the identity
    delta = 1e-5                  # likewise
    expires = 2027-12-31          # the last day on which anything is released

    stages = ["training"]         # what may be asked
    sub_budgets = [5.0, 3.0]      # the most that the first run may take of epsilon, the second, ...
    crash_reserve = 2             # rounds that a run keeps for charges a crash made uncertain

    [filter]                      # a part for requests outside any run, chosen as they come; fixed for life
    epsilon = 1.0
    delta = 1e-6
    noise_multiplier = 4.0        # the planned use, for which the part reaches farthest
    sampling_rate = 0.1
"""

from __future__ import annotations

import datetime
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from fedpeft.errors import ConfigError, unreadable
from fedpeft.privacy.events import MAX_CRASH_RESERVE, MAX_NOISE_MULTIPLIER, MIN_NOISE_MULTIPLIER
from fedpeft.settings import Count, Name, Positive, Section

Stage = Literal["synthesis", "selection", "clipping", "training", "evaluation"]


class FilterTerms(Section):
    """The part of a policy for requests outside any run."""

    epsilon: Positive
    """Of the policy's epsilon; set aside when the ledger is first opened under these terms."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Of the policy's delta."""
    noise_multiplier: Annotated[float, Field(ge=MIN_NOISE_MULTIPLIER, le=MAX_NOISE_MULTIPLIER)]
    """Of the planned steps; others are served as well, but the part goes farthest for these."""
    sampling_rate: Annotated[float, Field(gt=0, le=1)]
    """Likewise."""


class Policy(Section):
    """The terms under which a site releases anything; immutable."""

    identity: Name
    """Names the ledger. Edited data keep the identity, and so inherit what was spent."""
    unit: Annotated[str, Field(min_length=1, max_length=200)]
    """`record`, or the column whose values are protected whole."""
    declared_units: Count
    """The public number of units."""
    epsilon: Positive
    """Bound on everything that ever leaves."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Bound on everything that ever leaves; fixed for life."""
    expires: datetime.date
    """The last day, in UTC, on which something new is released."""
    stages: Annotated[tuple[Stage, ...], Field(strict=False)] = ("training",)
    """What may be asked of the site; nothing, if empty."""
    sub_budgets: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    """The most that the first, second, ... run may take of epsilon, with the same share of delta; no more
    runs than entries. Empty: a run may take whatever is left."""
    crash_reserve: Annotated[int, Field(ge=0, le=MAX_CRASH_RESERVE)] = 0
    """Rounds of budget that a run keeps for charges that a crash makes uncertain."""
    filter: FilterTerms | None = None
    """For requests outside any run; none: only runs are served."""

    @field_validator("unit")
    @classmethod
    def _printable(cls, unit: str) -> str:
        if not unit.isprintable():
            raise ValueError("must be printable")
        return unit

    @field_validator("sub_budgets")
    @classmethod
    def _fit(cls, sub_budgets: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        total, epsilon = math.fsum(sub_budgets), info.data.get("epsilon", math.inf)
        if total > epsilon:
            raise ValueError(f"their sum {total:g} is above epsilon = {epsilon:g}; lower one")
        return sub_budgets

    @field_validator("filter")
    @classmethod
    def _fits(cls, terms: FilterTerms | None, info: ValidationInfo) -> FilterTerms | None:
        if terms is not None:
            runs = math.fsum(info.data.get("sub_budgets", ()))
            for field, part, whole in (
                ("epsilon", terms.epsilon + runs, info.data.get("epsilon", math.inf)),
                ("delta", terms.delta, info.data.get("delta", math.inf)),
            ):
                if part > whole:
                    raise ValueError(f"its {field}, with sub_budgets {part:g}, is above {whole:g}; lower it")
        return terms


def load_policy(path: Path | str) -> Policy:
    """Read and check a policy.

    Raises:
        ConfigError: with every problem of the file, one line each.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}; mend the syntax there") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; give the path of a policy.toml"
        ) from error
    except (ValueError, RecursionError) as error:  # a path or a number that Python does not take
        raise ConfigError(f"{path}: cannot be read: {unreadable(error)}") from error
    try:
        return Policy(**content)
    except ValidationError as error:
        raise ConfigError([f"{path}: {describe(p, Policy, 'a policy')}" for p in error.errors()]) from error


def describe(problem: Any, of: type[Section], what: str) -> str:
    """One line on one of pydantic's problems with a small file of keys.

    Args:
        problem: of ``ValidationError.errors()``.
        of: what was validated.
        what: the file is called.
    """
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{key}: is required; add it"
    if problem["type"] == "extra_forbidden":
        return f"{key}: is not a key of {what}; choose one of {', '.join(of.model_fields)}"
    return f"{key} = {problem['input']!r:.80}: {problem['msg']}; change it"
