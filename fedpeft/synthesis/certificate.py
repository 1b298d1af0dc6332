# SPDX-License-Identifier: Apache-2.0
"""What synthetic data cost, kept beside them: whose releases they depend on, and of which data exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from fedpeft.errors import ConfigError, DataError, EventError
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.events import event_from_json, event_to_json
from fedpeft.types import JsonDict, PrivacyEvent

VERSION: Final = 1
_SLACK: Final = 1e-6  # relative; for figures that another machine's rounding made


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one site released for the data.

    Attributes:
        declared_units: the site's public number of units.
        request_id: of the release, as in the site's ledger; of the first, where there were several.
        event: what the release cost, or several together, which are alike but for their steps.
        ledger_head: of the site's ledger, which held the event before the release left; of several, the last.
        more: ids of all further releases.
    """

    declared_units: int
    request_id: str
    event: PrivacyEvent
    ledger_head: str
    more: tuple[str, ...] = ()

    @property
    def request_ids(self) -> tuple[str, ...]:
        """Of all releases."""
        return (self.request_id, *self.more)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Everything that is claimed about a synthetic data set.

    Attributes:
        generator: value of ``synthesis.generator``.
        run_id: of the commitments that paid; empty where nothing was paid.
        unit: of privacy.
        epsilon: with ``delta``, what the releases of any one site cost by themselves; the largest over the
            sites. A run's own epsilon has them inside, composed with its other releases.
        data_sha256: of the bytes of the data file.
        contributors: by site.
        left_out: sites that released nothing for the data, and why.
        note: what else a reader must know; empty if nothing.
    """

    generator: str
    run_id: str
    unit: str
    epsilon: float
    delta: float
    data_sha256: str
    contributors: dict[str, Contribution] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> str:
        """One JSON object, indented."""
        sites = {name: contribution_to_json(site) for name, site in self.contributors.items()}
        data = {"version": VERSION} | asdict(self) | {"contributors": sites}
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Read what :meth:`to_json` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            data = json.loads(text)
            if data.pop("version") != VERSION or data.keys() != {item.name for item in fields(cls)}:
                raise ValueError("another version, or other keys")
            sites = {name: contribution_from_json(site) for name, site in data.pop("contributors").items()}
            made = cls(**data, contributors=sites)
            _check_types(made)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EventError) as error:
            raise DataError(
                f"certificate.json: is no certificate of version {VERSION} ({error}); make the data anew"
            ) from error
        return made

    def problems(self) -> list[str]:
        """What is wrong with the figures by themselves, one line each."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        largest = 0.0
        for name, site in self.contributors.items():
            if site.event.unit != self.unit:
                yield f"certificate: {name} protects {site.event.unit!r}, the certificate says {self.unit!r}"
            try:
                largest = max(largest, epsilon([site.event], self.delta))
            except (ConfigError, EventError) as error:
                yield f"certificate: {name}: {error}"
        if not largest <= self.epsilon * (1 + _SLACK):
            yield f"certificate: says epsilon {self.epsilon:g}, its events cost {largest:g}"


def cost_of(events: list[PrivacyEvent], delta: float) -> float:
    """The largest epsilon of single releases at ``delta``; 0 without any."""
    return max((epsilon([event], delta) for event in events), default=0.0)


def contribution_to_json(site: Contribution) -> JsonDict:
    """For a file."""
    return asdict(site) | {"event": json.loads(event_to_json(site.event))}


def contribution_from_json(data: JsonDict) -> Contribution:
    """What :func:`contribution_to_json` made.

    Raises:
        ValueError, TypeError, KeyError, EventError: it is something else.
    """
    event, more = event_from_json(json.dumps(data["event"])), data.get("more", [])
    _require("more", isinstance(more, list) and all(isinstance(one, str) for one in more))
    made = Contribution(**data | {"event": event, "more": tuple(more)})
    _require("declared_units", type(made.declared_units) is int and made.declared_units >= 1)
    _require("request_id", isinstance(made.request_id, str))
    _require("ledger_head", isinstance(made.ledger_head, str))
    _require("more", len(set(made.request_ids)) == 1 + len(more) <= made.event.steps)
    return made


def _check_types(made: Certificate) -> None:
    for name in ("generator", "run_id", "unit", "data_sha256", "note"):
        _require(name, isinstance(getattr(made, name), str))
    _require("epsilon", _is_number(made.epsilon) and made.epsilon >= 0)
    _require("delta", _is_number(made.delta) and 0 < made.delta < 1)
    _require("left_out", all(isinstance(reason, str) for reason in made.left_out.values()))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _require(name: str, good: bool) -> None:
    if not good:
        raise ValueError(f"{name} is not what it must be")
