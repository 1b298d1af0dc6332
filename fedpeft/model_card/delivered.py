# SPDX-License-Identifier: Apache-2.0
"""The card of an adapter that was delivered to an organization, in the organization's own words.

What it says of privacy comes from the site's ledger and settings. Of what the coordinator sent only numbers
are taken, under a heading that says whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpeft import __version__
from fedpeft.config import RunConfig
from fedpeft.curve import PUBLIC
from fedpeft.guarantee import organization_guarantee, round_up
from fedpeft.model_card import words
from fedpeft.privacy.ledger import PolicyLife
from fedpeft.types import SEEDED_PREFIX, JsonDict

_TRIAL: Final = "site and courier were one user's, so that nothing kept the coordinator's code from the data"
_SEEDED: Final = "the run's name says that it was seeded"

Name = Literal["ranking_accuracy", "token_accuracy", "perplexity"]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]


class _Reported(BaseModel):
    """What is taken over of a coordinator's figures: numbers, and nothing else."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Figure(_Reported):
    value: Number | None
    low: Number | None
    high: Number | None


class _Metrics(_Reported):
    before: dict[Name, _Figure]
    after: dict[Name, _Figure]
    difference: dict[Name, _Figure]
    records: Annotated[int, Field(ge=1, le=10**12)]
    labels: list[str]
    privacy: str


class _Result(_Reported):
    metrics: _Metrics


def make_delivered_card(
    config: RunConfig,
    life: PolicyLife,
    run_id: str,
    result: bytes,
    *,
    backbone: str,
    trainable_parameters: int,
    one_user_trial: bool = False,
) -> str:
    """The card's text: a YAML header and Markdown.

    Args:
        config: of the resident site, not of the run.
        life: of the site's ledger, which knows the run.
        run_id: of the run.
        result: bytes of the coordinator's ``result.json``, checked for nothing.
        backbone: the site's own name or path of it.
        trainable_parameters: of the adapter.
        one_user_trial: whether the site was served without the checks that keep the courier from the data.

    Raises:
        ValueError: the ledger knows no such run.
    """
    own = next((one for one in life.commitments if one.run_id == run_id), None)
    if own is None:
        raise ValueError(f"run {run_id!r}: is not in the ledger of {life.identity}")
    why_none = _TRIAL if one_user_trial else _SEEDED if run_id.startswith(SEEDED_PREFIX) else ""
    metrics = _reported(result)
    return words.fill(
        "delivered.md",
        header=words.header(backbone, is_private=not why_none),
        name=words.plain(words.short_name(backbone)),
        adapter=config.adapter,
        size=trainable_parameters,
        guarantee="" if why_none else organization_guarantee(config, own.epsilon, own.delta),
        why_none=why_none,
        run_id=run_id,
        own=_both(own.epsilon, own.delta),
        all=_both(life.committed.epsilon, life.committed.delta),
        most=_both(config.privacy.epsilon, config.delta),
        unit=words.plain(life.unit),
        data=[words.plain(line) for line in _data(config, life.unit)],
        rows=[] if metrics is None else list(words.rows(metrics)),
        records=0 if metrics is None else metrics["records"],
        version=__version__,
    )


def _reported(result: bytes) -> JsonDict | None:
    """The coordinator's exact figures, where they are figures of the kind that is expected."""
    try:
        metrics = _Result.model_validate_json(result).metrics
    except ValidationError:
        return None
    same_names = metrics.before.keys() == metrics.after.keys() == metrics.difference.keys()
    return metrics.model_dump() if same_names and metrics.privacy == PUBLIC else None


def _data(config: RunConfig, unit: str) -> Iterator[str]:
    (site,) = config.sites
    most, data = config.privacy.max_records_per_unit, config.data
    yield "Instruction-response records of this organization, which never left it, and of the run's others."
    yield f"Declared units here: {site.declared_units:,}."
    yield f"Unit of privacy: {unit}, at most {most} records of a unit."
    yield f"Records are cut to {data.max_length} tokens; {data.held_out:.0%} of the units were held out."


def _both(epsilon: float, delta: float) -> tuple[str, str]:
    return round_up(epsilon), round_up(delta)
