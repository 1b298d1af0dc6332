# SPDX-License-Identifier: Apache-2.0
"""One table of public data split over simulated sites, for research.

A unit's site is a function of that unit and of public constants: adding or removing a unit changes the data
of one site by that unit, and of the others not at all. Hence each site's guarantee is what it would be with a
table of its own, and the sites' data are disjoint by unit. Nothing is counted, shuffled or balanced.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from unicodedata import normalize

from scipy.special import gammaincinv

from fedpeft.data.records import Record
from fedpeft.data.split import choose_within_unit, keyed_hash
from fedpeft.errors import DataError
from fedpeft.settings import PartitionSettings, SiteSettings

# Public constants; changing one changes every partition.
_UNIT_KEY = b"fedpeft site of a unit 1"
_SHARE_KEY = b"fedpeft share of a site 1"

_MAX_PROBLEMS = 20


def split_over_sites(
    records: Sequence[Record], sites: Sequence[SiteSettings], settings: PartitionSettings
) -> dict[str, list[Record]]:
    """Give each unit, with all of its records, to one site.

    Kind ``iid`` chooses by a hash of the unit, every site as likely. Kind ``dirichlet`` does so by shares
    that the unit's task has drawn (Yurochkin et al., arXiv 1905.12022, section 4, there by class); a unit
    with several tasks counts as of its record with the smallest hash, and goes as a whole. Kind ``column``
    takes the site that the unit's records name.

    Args:
        records: of all sites.
        sites: their order is part of the split.
        settings: a kind other than ``none``.

    Returns:
        By site; a site may get none.

    Raises:
        DataError: with kind ``column``, a value that is no site, or a unit whose records name two.
    """
    by_unit: dict[str, list[Record]] = {}
    for record in records:
        by_unit.setdefault(record.unit, []).append(record)
    if settings.kind == "column":
        chosen = _named_sites(by_unit, sites, settings)
    else:
        chosen = {unit: sites[i].name for unit, i in _hashed_sites(by_unit, len(sites), settings).items()}
    parts: dict[str, list[Record]] = {site.name: [] for site in sites}
    for record in records:
        parts[chosen[record.unit]].append(record)
    return parts


def task_shares(task: str, num_sites: int, alpha: float, seed: int) -> list[float]:
    """Shares of the sites in a task: a draw from a symmetric Dirichlet distribution.

    Gamma variables, each by inversion of a uniform number that hashes the arguments and the site's place, so
    that no generator's stream, and no other task, has a part in it.

    Args:
        task: its name.
        num_sites: at least 1.
        alpha: concentration, at least 0.05: below, all variables of a draw could underflow.
        seed: public.

    Returns:
        ``num_sites`` numbers that sum to 1.
    """
    places = (keyed_hash(f"{seed} {place} {task}", _SHARE_KEY) for place in range(num_sites))
    gammas = [float(gammaincinv(alpha, (number + 0.5) / 2**64)) for number in places]
    total = sum(gammas)
    return [gamma / total for gamma in gammas]


def _hashed_sites(
    by_unit: Mapping[str, Sequence[Record]], num_sites: int, settings: PartitionSettings
) -> dict[str, int]:
    @cache
    def bounds(task: str) -> list[float]:
        return list(accumulate(task_shares(task, num_sites, settings.alpha, settings.seed)))

    def site_of(unit: str) -> int:
        number = keyed_hash(f"{settings.seed} {unit}", _UNIT_KEY)
        if settings.kind == "iid":
            return number * num_sites >> 64
        [first] = choose_within_unit(by_unit[unit], 1)
        return min(bisect_right(bounds(first.task), number / 2**64), num_sites - 1)

    return {unit: site_of(unit) for unit in by_unit}


def _named_sites(
    by_unit: Mapping[str, Sequence[Record]], sites: Sequence[SiteSettings], settings: PartitionSettings
) -> dict[str, str]:
    names = {normalize("NFC", (site.value or site.name).strip()): site.name for site in sites}
    column = f"column {settings.column!r} ([data.partition] column)"
    problems: list[str] = []
    chosen: dict[str, str] = {}
    for unit, records in by_unit.items():
        values = sorted({record.part for record in records})
        unknown = [value for value in values if value not in names]
        if unknown:
            problems.append(f"data.partition: {column} is {unknown[0]!r} in a record; add a site for it")
        elif len(values) > 1:
            found = f"{column} is {values[0]!r} and {values[1]!r} in records of one unit"
            problems.append(f"data.partition: {found}; a unit belongs to one site")
        else:
            chosen[unit] = names[values[0]]
    problems = list(dict.fromkeys(problems))
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"data.partition: and {len(problems) - _MAX_PROBLEMS} more"]
    if problems:
        raise DataError(problems)
    return chosen
