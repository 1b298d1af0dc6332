# SPDX-License-Identifier: Apache-2.0
"""From a site's records to what it trains on: units of encoded examples, and the records it holds out.

Every step here - the split, the choice of a unit's records, encoding, cutting - is a function of one unit and
public constants. Adding or removing a unit therefore changes nothing about any other. (The docstring corpus
is public and drops duplicates before it gets here.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedpeft.data.embedding import pair_text
from fedpeft.data.pairs import control, pair_as_text
from fedpeft.data.prompts import Example, Prompter
from fedpeft.data.records import Record
from fedpeft.data.split import choose_within_unit, is_held_out
from fedpeft.settings import DataSettings, PrivacySettings


@dataclass(frozen=True, slots=True)
class SiteData:
    """What one site has. Private, all of it, unless its data are public.

    Attributes:
        name: of the site.
        units: training examples by unit, keys sorted; none of a held-out unit.
        held_out: every record of the held-out units.
        share_truncated: of the training examples, how many were cut; for the site's own log only.
        tasks: of each training unit, over all of its records.
        records: those behind the training examples, by unit.
    """

    name: str
    units: dict[str, tuple[Example, ...]]
    held_out: list[Record]
    share_truncated: float
    tasks: dict[str, frozenset[str]]
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)

    def texts(self) -> dict[str, list[str]]:
        """What its training records say, by unit; what votes are made of."""
        units = self.records.items()
        return {unit: [pair_text(r.instruction, r.response) for r in own] for unit, own in units}

    def pairs(self, prompter: Prompter, tasks: Sequence[str]) -> dict[str, tuple[Example, ...]]:
        """The same records as a generator learns to write them, by unit.

        Args:
            prompter: of pairs.
            tasks: public names; a record of another task is written about without one.
        """

        def encoded(record: Record) -> Example:
            about = record.task if record.task in tasks else ""
            return prompter.encode(control(about), pair_as_text(record.instruction, record.response))

        return {unit: tuple(map(encoded, own)) for unit, own in self.records.items()}


def encode_site(
    name: str, records: Sequence[Record], data: DataSettings, privacy: PrivacySettings, prompter: Prompter
) -> SiteData:
    """Split the records of one site by unit and encode those that train."""
    by_unit: dict[str, list[Record]] = {}
    for record in records:
        by_unit.setdefault(record.unit, []).append(record)
    units: dict[str, tuple[Example, ...]] = {}
    trained: dict[str, tuple[Record, ...]] = {}
    tasks: dict[str, frozenset[str]] = {}
    held_out: list[Record] = []
    for unit in sorted(by_unit):
        if is_held_out(unit, data.held_out):
            held_out += sorted(by_unit[unit], key=lambda record: record.id)
            continue
        chosen = choose_within_unit(by_unit[unit], privacy.max_records_per_unit)
        trained[unit] = tuple(chosen)
        units[unit] = tuple(prompter.encode(r.instruction, r.response, r.before) for r in chosen)
        tasks[unit] = frozenset(record.task for record in by_unit[unit])
    return SiteData(name, units, held_out, _share_truncated(units), tasks, trained)


def _share_truncated(units: Mapping[str, Sequence[Example]]) -> float:
    cut = [example.truncated for examples in units.values() for example in examples]
    return sum(cut) / len(cut) if cut else 0.0
