# SPDX-License-Identifier: Apache-2.0
"""Partitions: a unit's site is its own affair, and the shares are those that were asked for."""

import numpy as np
import pytest
from scipy import stats

from fedpeft.data.partition import split_over_sites, task_shares
from fedpeft.data.records import Record
from fedpeft.data.split import choose_within_unit
from fedpeft.errors import DataError
from fedpeft.settings import PartitionSettings, SiteSettings

SITES = [SiteSettings(name=f"part{n}") for n in range(4)]


def _records(num_units, records_per_unit=1, tasks=("a", "b", "c")):
    return [
        Record(
            f"{unit}-{n}", f"u{unit}", "ask", "say", tasks[(unit + n) % len(tasks)], part=f"part{unit % 4}"
        )
        for unit in range(num_units)
        for n in range(records_per_unit)
    ]


def _settings(kind, **changes):
    return PartitionSettings(kind=kind, column="c" if kind == "column" else None, **changes)


def _units(parts):
    return {name: {record.unit for record in records} for name, records in parts.items()}


@pytest.mark.parametrize("kind", ["column", "iid", "dirichlet"])
class TestEveryKind:
    """What the sites' guarantees rest on."""

    def test_no_unit_and_no_record_is_lost_or_in_two_sites(self, kind):
        records = _records(200, 3)
        parts = split_over_sites(records, SITES, _settings(kind))
        units = _units(parts)
        assert list(parts) == [site.name for site in SITES]
        assert sum(map(len, units.values())) == 200 == len(set().union(*units.values()))
        assert sum(map(len, parts.values())) == 600

    @pytest.mark.parametrize("removed", [0, 57, 199])
    def test_a_unit_less_moves_no_other(self, kind, removed):
        records = _records(200, 3)
        whole = split_over_sites(records, SITES, _settings(kind, alpha=0.3))
        rest = [record for record in records if record.unit != f"u{removed}"]
        less = split_over_sites(rest, SITES, _settings(kind, alpha=0.3))
        changed = [name for name in whole if whole[name] != less[name]]
        assert len(changed) == 1
        [site] = changed
        assert [r for r in whole[site] if r.unit != f"u{removed}"] == less[site]

    def test_the_order_of_records_does_not_matter(self, kind):
        records = _records(100, 3)
        forward = split_over_sites(records, SITES, _settings(kind))
        backward = split_over_sites(records[::-1], SITES, _settings(kind))
        assert _units(forward) == _units(backward)

    def test_a_table_without_records_has_sites(self, kind):
        assert split_over_sites([], SITES, _settings(kind)) == {site.name: [] for site in SITES}


def test_balancing_would_be_noticed():
    """The control of the test above: a split by rank moves others when one unit is gone."""

    def by_rank(records):
        return {record.unit: rank % 4 for rank, record in enumerate(records)}

    records = _records(200)
    whole, less = by_rank(records), by_rank(records[1:])
    assert any(whole[unit] != site for unit, site in less.items())


@pytest.mark.parametrize("kind", ["iid", "dirichlet"])
def test_another_seed_is_another_split(kind):
    records = _records(200)
    first, second = (_units(split_over_sites(records, SITES, _settings(kind, seed=seed))) for seed in (0, 1))
    assert first != second


def test_iid_shares_are_equal_and_do_not_follow_the_task():
    parts = split_over_sites(_records(6000), SITES, _settings("iid"))
    counts = np.array(
        [[sum(r.task == task for r in records) for task in "abc"] for records in parts.values()]
    )
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
    uneven = counts.copy()
    uneven[0] += 150  # the control: a share of 0.28 instead of 0.25 in a site
    assert stats.chisquare(uneven.ravel()).pvalue < 1e-3


def test_dirichlet_gives_each_task_its_own_shares():
    parts = split_over_sites(_records(9000), SITES, _settings("dirichlet", alpha=0.5))
    for task in "abc":
        counts = np.array([sum(r.task == task for r in records) for records in parts.values()])
        expected = 3000 * np.array(task_shares(task, 4, 0.5, 0))
        assert np.abs(counts - expected).max() < 4 * np.sqrt(3000 / 4)
    others = np.array([task_shares(task, 4, 0.5, 0) for task in "abc"])
    assert np.abs(others[0] - others[1]).max() > 4 * np.sqrt(3000 / 4) / 3000


def test_shares_are_a_dirichlet_draw():
    """Each share of a symmetric Dirichlet distribution over n is Beta(alpha, (n - 1) alpha)."""
    for alpha in (0.1, 0.5, 3.0):
        first = [task_shares(f"task {n}", 4, alpha, 7)[0] for n in range(2000)]
        assert stats.kstest(first, stats.beta(alpha, 3 * alpha).cdf).pvalue > 1e-3
        assert stats.kstest(first, stats.beta(1.5 * alpha, 4.5 * alpha).cdf).pvalue < 1e-3


@pytest.mark.parametrize("alpha", [0.05, 1e6])
def test_extreme_shares_are_finite_and_sum_to_one(alpha):
    for task in map(str, range(300)):
        shares = task_shares(task, 3, alpha, 0)
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0


def test_a_unit_of_several_tasks_goes_as_a_whole_by_one_of_them():
    records = _records(500, 3)
    parts = split_over_sites(records, SITES, _settings("dirichlet", alpha=0.05))
    # Without the others, a unit goes where it went with them.
    firsts = [choose_within_unit([r for r in records if r.unit == f"u{n}"], 1)[0] for n in range(500)]
    assert _units(split_over_sites(firsts, SITES, _settings("dirichlet", alpha=0.05))) == _units(parts)


class TestColumn:
    """Sites by the values of a public column."""

    def _problems(self, *units_and_parts):
        records = [
            Record(str(n), unit, "ask", "say", part=part) for n, (unit, part) in enumerate(units_and_parts)
        ]
        with pytest.raises(DataError) as caught:
            split_over_sites(records, SITES, _settings("column"))
        return caught.value.problems

    def test_a_value_without_a_site_is_told_once(self):
        [problem] = self._problems(("a", "part0"), ("b", "part9"), ("c", "part9"))
        assert problem == (
            "data.partition: column 'c' ([data.partition] column) is 'part9' in a record; add a site for it"
        )

    def test_a_unit_in_two_sites_is_refused(self):
        [problem] = self._problems(("a", "part0"), ("a", "part1"))
        assert "is 'part0' and 'part1' in records of one unit" in problem

    def test_many_problems_are_counted(self):
        problems = self._problems(*[(f"u{n}", f"x{n}") for n in range(33)])
        assert len(problems) == 21
        assert problems[-1] == "data.partition: and 13 more"
