# SPDX-License-Identifier: Apache-2.0
"""What a site trains on, and that one unit more or less changes nothing for the others."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedpeft.data.prompts import Prompter
from fedpeft.data.site_data import encode_site
from fedpeft.data.sources import read_sites
from fedpeft.data.split import is_held_out
from fedpeft.errors import ConfigError, DataError
from fedpeft.settings import DataSettings, PrivacySettings, SiteSettings
from fedpeft.testing import tiny_tokenizer

MEDQUAD = ("cancergov", "cdc", "gard", "ghr", "mplus_health_topics", "niddk", "seniorhealth")


@pytest.fixture(scope="module")
def prompter():
    return Prompter(tiny_tokenizer(), max_length=48, system_prompt=False)


def _rows(num_units=40, records_per_unit=3):
    return [
        {
            "id": f"{unit}-{n}",
            "owner": f"u{unit}",
            "instruction": f"Question {n}?",
            "response": f"{unit} " * (1 + n),
        }
        for unit in range(num_units)
        for n in range(records_per_unit)
    ]


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _data(**changes):
    return DataSettings(**({"source": "jsonl", "id": "id", "held_out": 0.2} | changes))


def load_sites(sites, data, privacy, prompter):
    """Read and encode, as a run does."""
    source = read_sites(sites, data, privacy)
    encoded = {n: encode_site(n, records, data, privacy, prompter) for n, records in source.records.items()}
    return SimpleNamespace(sites=encoded, provenance=source.provenance)


def _load(path, prompter, privacy=None, data=None):
    sites = [SiteSettings(name="clinic", path=path)]
    return load_sites(sites, data or _data(), privacy or PrivacySettings(unit="owner"), prompter)


def _plain(site):
    return {
        unit: [(example.ids.tolist(), example.num_prompt, example.truncated) for example in examples]
        for unit, examples in site.units.items()
    }


def test_pairs_for_a_generator_are_of_the_same_units(tmp_path, prompter):
    """A unit that fell apart into its records would be clipped once for each of them."""
    site = _load(_write(tmp_path / "a.jsonl", _rows()), prompter).sites["clinic"]
    pairs = site.pairs(prompter, ())
    assert {unit: len(own) for unit, own in pairs.items()} == dict.fromkeys(site.units, 3)


def test_units_hold_their_examples(tmp_path, prompter):
    loaded = _load(_write(tmp_path / "a.jsonl", _rows()), prompter)
    site = loaded.sites["clinic"]
    assert site.name == "clinic"
    assert list(site.units) == sorted(site.units)
    assert {len(examples) for examples in site.units.values()} == {3}
    assert loaded.provenance == {"source": "jsonl"}  # nothing of private data


def test_held_out_units_do_not_train(tmp_path, prompter):
    site = _load(_write(tmp_path / "a.jsonl", _rows()), prompter).sites["clinic"]
    held = {record.unit for record in site.held_out}
    assert held == {f"u{n}" for n in range(40) if is_held_out(f"u{n}", 0.2)}
    assert held
    assert not held & set(site.units)
    assert len(held) + len(site.units) == 40
    assert len(site.held_out) == 3 * len(held)


def test_nothing_is_held_out_at_zero(tmp_path, prompter):
    site = _load(_write(tmp_path / "a.jsonl", _rows()), prompter, data=_data(held_out=0.0)).sites["clinic"]
    assert len(site.units) == 40
    assert site.held_out == []


def test_large_units_train_on_some_of_their_records(tmp_path, prompter):
    privacy = PrivacySettings(unit="owner", max_records_per_unit=2)
    site = _load(_write(tmp_path / "a.jsonl", _rows()), prompter, privacy).sites["clinic"]
    assert {len(examples) for examples in site.units.values()} == {2}
    assert all(sum(r.unit == record.unit for r in site.held_out) == 3 for record in site.held_out)


@pytest.mark.parametrize("unit", ["owner", "record"])
@pytest.mark.parametrize("id_column", ["id", None])
@pytest.mark.parametrize("place", [0, 60, 120])
def test_a_unit_more_changes_nothing_for_the_others(tmp_path, prompter, unit, id_column, place):
    rows = _rows()
    owners = ["new"] * 5 if unit == "owner" else ["u3"]
    added = [
        {"id": f"new-{n}", "owner": owner, "instruction": "Surely?", "response": f"{n}"}
        for n, owner in enumerate(owners)
    ]
    privacy = PrivacySettings(unit=unit, max_records_per_unit=2)
    data = _data(id=id_column, held_out=0.3)
    before = _load(_write(tmp_path / "a.jsonl", rows), prompter, privacy, data).sites["clinic"]
    neighbour = rows[:place] + added + rows[place:]
    after = _load(_write(tmp_path / "b.jsonl", neighbour), prompter, privacy, data).sites["clinic"]

    units, held = _plain(before), {(record.id, record.unit) for record in before.held_out}
    more_units, more_held = _plain(after), {(record.id, record.unit) for record in after.held_out}
    assert {unit: more_units[unit] for unit in units} == units
    assert held <= more_held
    assert len(more_units) - len(units) + len({u for _, u in more_held - held}) == 1  # the new unit, once


def test_order_of_lines_does_not_matter(tmp_path, prompter):
    forward = _load(_write(tmp_path / "a.jsonl", _rows()), prompter).sites["clinic"]
    backward = _load(_write(tmp_path / "b.jsonl", _rows()[::-1]), prompter).sites["clinic"]
    assert _plain(forward) == _plain(backward)
    assert forward.held_out == backward.held_out


def test_share_truncated_counts_training_examples(tmp_path, prompter):
    rows = [
        {"id": str(n), "owner": str(n), "instruction": "Q?", "response": "word " * (100 if n % 4 == 0 else 1)}
        for n in range(40)
    ]
    site = _load(_write(tmp_path / "a.jsonl", rows), prompter, data=_data(held_out=0.0)).sites["clinic"]
    assert site.share_truncated == 0.25


def test_site_without_records_is_a_site(tmp_path, prompter):
    site = _load(_write(tmp_path / "a.jsonl", []), prompter).sites["clinic"]
    assert (site.units, site.held_out, site.share_truncated) == ({}, [], 0.0)


def test_problems_of_all_sites_are_told_together(tmp_path, prompter):
    sites = [
        SiteSettings(
            name="a", path=_write(tmp_path / "a.jsonl", [{"id": "1", "instruction": "q", "owner": "u"}])
        ),
        SiteSettings(name="b", path=_write(tmp_path / "b.jsonl", _rows() + _rows())),
    ]
    with pytest.raises(DataError) as caught:
        load_sites(sites, _data(), PrivacySettings(unit="owner"), prompter)
    assert len(caught.value.problems) == 1 + 21
    assert caught.value.problems[0].startswith(f"{tmp_path / 'a.jsonl'}:1: column 'response'")


class TestDocstrings:
    """The public demonstration as sites."""

    @pytest.fixture(autouse=True)
    def _packages(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FEDPEFT_CACHE", str(tmp_path / "cache"))
        monkeypatch.syspath_prepend(tmp_path)
        for module in ("fake_a", "fake_b"):
            functions = [
                f'def op{n}(value):\n    """Tells {module} that the answer is number {n}."""\n'
                for n in range(60)
            ]
            (tmp_path / f"{module}.py").write_text("".join(functions))

    def test_packages_are_sites(self, prompter):
        sites = [SiteSettings(name="house", package="fake_a"), SiteSettings(name="firm", package="fake_b")]
        loaded = load_sites(sites, DataSettings(), PrivacySettings(), prompter)
        assert list(loaded.sites) == ["house", "firm"]
        house = loaded.sites["house"]
        assert all(unit.startswith("fake_a.") for unit in house.units)
        assert len(house.units) + len(house.held_out) == 60
        assert {len(examples) for examples in house.units.values()} == {1}
        assert {record.task for record in house.held_out} <= {"describe", "name", "signature", "module"}

    def test_provenance_is_in_the_result(self, prompter):
        sites = [SiteSettings(name="house", package="fake_a"), SiteSettings(name="std", package="fake_b")]
        provenance = load_sites(sites, DataSettings(), PrivacySettings(), prompter).provenance
        assert provenance["source"] == "docstrings"
        assert len(provenance["content_hash"]) == 64
        assert provenance["versions"] == {"fake_a": "unknown", "fake_b": "unknown"}
        assert provenance["python"].startswith("3.")
        assert json.loads(json.dumps(provenance)) == provenance

    def test_only_records_can_be_units(self):
        sites = [SiteSettings(name="house", package="fake_a")]
        with pytest.raises(ConfigError, match=r"^privacy\.unit is 'owner', but .* must be 'record'$"):
            read_sites(sites, DataSettings(), PrivacySettings(unit="owner"))


@pytest.fixture(scope="module")
def medquad():
    root = os.environ.get("FEDPEFT_DATA_ROOT")
    if not root:
        pytest.skip("FEDPEFT_DATA_ROOT does not name the folder that holds medquad/")
    if not Path(root, "medquad").is_dir():
        pytest.skip(f"{root} has no folder medquad")
    data = _data(root=Path(root), task="task", id=None)  # some of its ids occur twice
    return data, [SiteSettings(name=name, path=Path(f"medquad/{name}.jsonl")) for name in MEDQUAD]


@pytest.mark.parametrize("unit", ["record", "subject"])
def test_real_institutes_load(medquad, unit):
    data, sites = medquad
    source = read_sites(sites, data, PrivacySettings(unit=unit))
    assert {name: len(records) for name, records in source.records.items()} == {
        "cancergov": 726,
        "cdc": 270,
        "gard": 5389,
        "ghr": 5428,
        "mplus_health_topics": 981,
        "niddk": 1144,
        "seniorhealth": 760,
    }
    units = {name: len({record.unit for record in records}) for name, records in source.records.items()}
    assert (units["gard"], units["seniorhealth"]) == ((5389, 760) if unit == "record" else (2684, 48))


def test_real_ids_that_occur_twice_are_refused(medquad):
    data, sites = medquad
    with pytest.raises(DataError) as caught:
        read_sites(sites, data.model_copy(update={"id": "id"}), PrivacySettings(unit="subject"))
    assert caught.value.problems[-1].endswith("cancergov.jsonl: and 14 more")


def test_a_real_institute_is_encoded(medquad, prompter):
    data, sites = medquad
    privacy = PrivacySettings(unit="subject", max_records_per_unit=4)
    [site] = load_sites([sites[1]], data, privacy, prompter).sites.values()
    assert site.name == "cdc"
    assert len(site.units) + len({record.unit for record in site.held_out}) == 59
    assert max(len(examples) for examples in site.units.values()) == 4
    assert site.share_truncated > 0.9
