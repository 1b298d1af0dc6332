# SPDX-License-Identifier: Apache-2.0
"""Wrong and biased responses come at their rates, the same every time, and never in what is scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpeft.config import load_config
from fedpeft.data.corruption import ASSURANCES, corrupted
from fedpeft.data.records import Record
from fedpeft.data.split import is_held_out
from fedpeft.errors import ConfigError
from fedpeft.run_sources import read_sources
from fedpeft.settings import PartitionSettings
from fedpeft.testing import tiny_config

LABELS = ("bad", "good", "so so")
SITES = {
    name: [Record(f"{i}", f"{name}-{i}", "What?", LABELS[i % 3], "t") for i in range(3000)]
    for name in ("north", "south")
}
RATES = [{"label_noise": 0.3}, {"feedback_bias": 0.2}, {"label_noise": 0.3, "feedback_bias": 0.2}]


def changed(settings: PartitionSettings, labels: tuple[str, ...] = LABELS, held_out: float = 0.0):
    found = corrupted(SITES, settings, held_out, labels)
    return {name: [(a, b) for a, b in zip(SITES[name], found[name], strict=True) if a != b] for name in SITES}


def test_a_rate_of_zero_changes_nothing() -> None:
    assert changed(PartitionSettings()) == {"north": [], "south": []}


def test_label_noise_gives_another_label_at_its_rate() -> None:
    pairs = changed(PartitionSettings(label_noise=0.3))["north"]
    assert len(pairs) / 3000 == pytest.approx(0.3, abs=0.03)
    assert all(b.response in LABELS and b.response != a.response for a, b in pairs)
    assert {b.response for _, b in pairs} == set(LABELS)


def test_bias_is_the_sites_own() -> None:
    found = changed(PartitionSettings(feedback_bias=1.0))
    assert {b.response for _, b in found["north"]} == {"bad"}
    assert {b.response for _, b in found["south"]} == {"good"}
    free = changed(PartitionSettings(feedback_bias=1.0), labels=())
    assert {b.response for _, b in free["south"]} == {ASSURANCES[1]}


@pytest.mark.parametrize("rates", RATES, ids=str)
def test_nothing_but_the_response_changes_and_a_seed_decides(rates: dict[str, float]) -> None:
    one, same, other = (changed(PartitionSettings(seed=s, **rates)) for s in (1, 1, 2))
    assert one == same != other
    for a, b in one["north"]:
        assert (a.id, a.unit, a.instruction, a.task) == (b.id, b.unit, b.instruction, b.task)


def test_a_record_is_corrupted_whoever_else_is_there() -> None:
    settings = PartitionSettings(label_noise=0.5)
    fewer = {name: own[::7] for name, own in SITES.items()}
    of_all = corrupted(SITES, settings, 0.0, LABELS)["north"]
    assert corrupted(fewer, settings, 0.0, LABELS)["north"] == of_all[::7]


def test_free_text_keeps_its_words_in_another_order() -> None:
    record = Record("1", "1", "Why?", "because it rains all day long in june", "t")
    [found] = corrupted({"a": [record]}, PartitionSettings(label_noise=1.0), 0.0, ())["a"]
    assert sorted(found.response.split()) == sorted(record.response.split())
    assert found.response != record.response


def test_what_is_held_out_stays_right() -> None:
    settings = PartitionSettings(label_noise=1.0, feedback_bias=0.5)
    for a, b in zip(SITES["north"], corrupted(SITES, settings, 0.2, LABELS)["north"], strict=True):
        assert (a == b) is (is_held_out(a.unit, 0.2) or b.response == a.response)
    kept = [a for a in SITES["north"] if is_held_out(a.unit, 0.2)]
    assert kept
    assert not [a for a, _ in changed(settings, held_out=0.2)["north"] if a in kept]


def test_a_run_reads_them_says_so_and_a_deployment_refuses(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    noisy = load_config(tmp_path / "run.toml", ["data.partition.label_noise=0.5"])
    plain, found = read_sources(load_config(tmp_path / "run.toml")), read_sources(noisy)
    assert plain.sites.records != found.sites.records
    assert found.sites.provenance["injected"] == {"label_noise": 0.5, "feedback_bias": 0.0}
    assert "injected" not in plain.sites.provenance
    with pytest.raises(ConfigError, match=r"data\.partition\.label_noise = 0\.5: is for simulations"):
        load_config(tmp_path / "run.toml", ["data.partition.label_noise=0.5", 'data.source="sites"'])
