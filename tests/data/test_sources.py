# SPDX-License-Identifier: Apache-2.0
"""Sources: every kind gives the same records, what is wrong is told before anything is read."""

import csv
import json
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedpeft.data.sources import POOL, check_file, check_sources, data_path, load_records, read_sites
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings, PartitionSettings, PrivacySettings, SiteSettings

ROWS = [
    {"id": f"00{n}", "owner": f"u{n % 3}", "instruction": f"Ask {n}", "response": f"Say, {n}", "task": "t"}
    for n in range(7)
]


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _data(**changes):
    return DataSettings(**({"source": "jsonl", "id": "id", "held_out": 0.2} | changes))


def _write_as(source, folder, rows, name="a"):
    """A table of ``rows``; the keys of the site that has it."""
    path = folder / f"{name}.{source}"
    if source == "jsonl":
        _write(path, rows)
    elif source == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif source == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        datasets.Dataset.from_list(rows).save_to_disk(str(path))
        return {"dataset": str(path)}
    return {"path": path}


@pytest.fixture(autouse=True)
def quiet_datasets():
    datasets.disable_progress_bars()


@pytest.mark.parametrize("source", ["jsonl", "csv", "parquet", "hub"])
def test_every_source_gives_the_same_records(tmp_path, source):
    data, privacy = _data(source=source, task="task"), PrivacySettings(unit="owner")
    site = SiteSettings(name="a", **_write_as(source, tmp_path, ROWS))
    found = read_sites([site], data, privacy)
    expected = [(row["id"], row["owner"], row["instruction"], row["response"], row["task"]) for row in ROWS]
    assert [(r.id, r.unit, r.instruction, r.response, r.task) for r in found.records["a"]] == expected
    assert found.provenance == {"source": source}


@pytest.mark.parametrize("source", ["jsonl", "csv", "parquet", "hub"])
def test_every_source_names_the_row_and_the_column(tmp_path, source):
    rows = [ROWS[0], ROWS[1] | {"response": " "}, ROWS[2], ROWS[0]]
    site = SiteSettings(name="a", **_write_as(source, tmp_path, rows))
    with pytest.raises(DataError) as caught:
        read_sites([site], _data(source=source), PrivacySettings())
    first, second = {"jsonl": (":2", ":4"), "csv": (":3", ":5")}.get(source, (": row 2", ": row 4"))
    name = site.dataset or site.path
    assert caught.value.problems[0].startswith(f"{name}{first}: column 'response' ([data] response) is empty")
    assert caught.value.problems[1].startswith(f"{name}{second}: id '000' is that of {name}")


class TestPythonObjects:
    """Data sets that the calling program holds."""

    SITES = (SiteSettings(name="a"), SiteSettings(name="b"))

    def _dataset(self, rows=ROWS):
        return datasets.Dataset.from_list(rows)

    def _read(self, **given):
        return read_sites(self.SITES, _data(source="python"), PrivacySettings(), given or None)

    def test_are_read_by_the_name_of_the_site(self):
        found = self._read(a=self._dataset(), b=self._dataset(ROWS[:2]))
        assert {name: len(records) for name, records in found.records.items()} == {"a": 7, "b": 2}

    def test_a_shown_format_changes_nothing(self):
        given = self._dataset().with_format("numpy")
        assert (
            self._read(a=given, b=self._dataset()).records["a"]
            == (self._read(a=self._dataset(), b=given).records["a"])
        )

    def test_without_them_the_error_says_where_they_come_from(self):
        with pytest.raises(DataError, match=r'data\.source = "python": .*resume'):
            self._read()

    def test_what_is_missing_too_much_or_no_data_set_is_told_together(self):
        with pytest.raises(DataError) as caught:
            self._read(a=ROWS, c=self._dataset())
        assert [problem.split(":")[0] for problem in caught.value.problems] == [
            "datasets['b']", "datasets['a']", "datasets['c']"
        ]  # fmt: skip

    def test_one_object_is_not_the_data_of_two_sites(self):
        given = self._dataset()
        with pytest.raises(DataError, match="is that of site 'a' already"):
            self._read(a=given, b=given)


class TestSeveralFiles:
    """``paths``: read as one file would be."""

    def _read(self, folder, *parts, **data):
        paths = [_write(folder / f"{i}.jsonl", rows) for i, rows in enumerate(parts)]
        site = SiteSettings(name="a", path=paths[0], paths=paths[1:])
        return read_sites([site], _data(**data), PrivacySettings()).records["a"]

    @pytest.mark.parametrize("id_column", ["id", None])
    def test_are_one_site(self, tmp_path, id_column):
        whole = self._read(tmp_path, ROWS, id=id_column)
        assert self._read(tmp_path, ROWS[:3], ROWS[3:], id=id_column) == whole

    def test_an_id_in_two_of_them_is_refused(self, tmp_path):
        with pytest.raises(DataError) as caught:
            self._read(tmp_path, ROWS[:4], ROWS[3:])
        [problem] = caught.value.problems
        assert problem.startswith(f"{tmp_path / '1.jsonl'}:1: id '003' is that of {tmp_path / '0.jsonl'}:4 ")

    def test_equal_rows_of_two_files_are_two_records(self, tmp_path):
        assert len({record.unit for record in self._read(tmp_path, ROWS, ROWS, id=None)}) == 14

    def test_one_of_them_twice_is_refused(self, tmp_path):
        path = _write(tmp_path / "x.jsonl", ROWS)
        (tmp_path / "y.jsonl").hardlink_to(path)
        site = SiteSettings(name="a", paths=[path, tmp_path / "y.jsonl"])
        assert check_sources([site], _data()) == ["sites.a.path: is named twice; give each its own data"]

    def test_problems_are_told_of_each_file(self, tmp_path):
        bad = [row | {"id": f"{n}-{row['id']}", "response": ""} for n in range(4) for row in ROWS]
        with pytest.raises(DataError) as caught:
            self._read(tmp_path, bad, ROWS[:1], bad)
        assert len(caught.value.problems) == 2 * 21
        assert caught.value.problems[20] == f"{tmp_path / '0.jsonl'}: and 8 more"

    def test_a_misspelt_unit_in_one_file_is_no_record_unit(self, tmp_path):
        paths = [_write(tmp_path / "0.jsonl", ROWS[:2]), tmp_path / "1.jsonl"]
        _write(paths[1], [{"ownr" if k == "owner" else k: v for k, v in row.items()} for row in ROWS[2:]])
        site = SiteSettings(name="a", paths=paths)
        with pytest.raises(DataError) as caught:
            read_sites([site], _data(), PrivacySettings(unit="owner", missing_unit="record"))
        assert caught.value.problems == (
            f"{paths[1]}: column 'owner' ([privacy] unit) is in no row; name one that is",
        )


class TestHub:
    """What ``datasets`` loads from a folder; a hub id goes the same way."""

    def _read(self, **site):
        return read_sites([SiteSettings(name="a", **site)], _data(source="hub"), PrivacySettings()).records[
            "a"
        ]

    def test_a_folder_of_splits_gives_the_one_named(self, tmp_path):
        splits = {"train": datasets.Dataset.from_list(ROWS), "dev": datasets.Dataset.from_list(ROWS[:2])}
        datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "d"))
        assert len(self._read(dataset=str(tmp_path / "d"))) == 7
        assert len(self._read(dataset=str(tmp_path / "d"), split="dev")) == 2
        with pytest.raises(DataError, match=r"^sites\.a\.dataset: .* cannot be loaded \(KeyError: 'test'\)"):
            self._read(dataset=str(tmp_path / "d"), split="test")

    def test_a_folder_that_is_no_data_set_is_told(self, tmp_path):
        with pytest.raises(DataError, match=r"^sites\.a\.dataset: .* cannot be loaded \(FileNotFoundError: "):
            self._read(dataset=str(tmp_path))

    def test_a_hub_id_is_asked_for_as_configured(self, monkeypatch):
        asked = []

        def load(*args, **kwargs):
            asked.append((args, kwargs))
            return datasets.Dataset.from_list(ROWS)

        monkeypatch.setattr(datasets, "load_dataset", load)
        assert len(self._read(dataset="who/what", subset="en", split="dev", revision="abc")) == 7
        assert asked == [(("who/what", "en"), {"split": "dev", "revision": "abc"})]


class TestPartition:
    """One table for all sites."""

    SITES = tuple(SiteSettings(name=f"part{n}") for n in range(3))

    def _read(self, source, table, sites=SITES, datasets=None, **partition):
        partition = PartitionSettings(**({"kind": "iid"} | partition | table))
        data = _data(source=source, task="task", partition=partition)
        return read_sites(sites, data, PrivacySettings(unit="owner"), datasets)

    @pytest.mark.parametrize("source", ["jsonl", "csv", "parquet", "hub"])
    def test_gives_every_record_to_one_site(self, tmp_path, source):
        found = self._read(source, _write_as(source, tmp_path, ROWS))
        ids = [record.id for records in found.records.values() for record in records]
        assert list(found.records) == ["part0", "part1", "part2"]
        assert sorted(ids) == [row["id"] for row in ROWS]
        assert found.provenance == {"source": source, "partition": {"kind": "iid", "seed": 0}}

    def test_of_an_object_of_the_program(self):
        found = self._read("python", {}, datasets={POOL: datasets.Dataset.from_list(ROWS)})
        assert sum(map(len, found.records.values())) == 7

    def test_by_a_column(self, tmp_path):
        sites = (SiteSettings(name="one", value="u0"), SiteSettings(name="u1"), SiteSettings(name="u2"))
        found = self._read("csv", _write_as("csv", tmp_path, ROWS), sites, kind="column", column="owner")
        assert {name: {r.unit for r in records} for name, records in found.records.items()} == {
            "one": {"u0"}, "u1": {"u1"}, "u2": {"u2"}
        }  # fmt: skip

    def test_evaluation_needs_no_column_of_the_partition(self, tmp_path):
        rows = [{key: value for key, value in row.items() if key != "owner"} for row in ROWS]
        partition = PartitionSettings(kind="column", column="owner")
        assert len(load_records(_write(tmp_path / "e.jsonl", rows), _data(partition=partition))) == 7

    def test_an_absent_table_is_told_once(self, tmp_path):
        with pytest.raises(DataError) as caught:
            self._read("jsonl", {"path": tmp_path / "no.jsonl"})
        assert caught.value.problems == (
            f"data.partition.path: {tmp_path / 'no.jsonl'} does not exist; correct the path",
        )


def test_an_evaluation_file_is_read_by_its_ending(tmp_path):
    for source in ("jsonl", "csv", "parquet"):
        path = _write_as(source, tmp_path, ROWS)["path"]
        assert len(load_records(path, _data(source="hub"))) == 7
    odd = (tmp_path / "a.jsonl").rename(tmp_path / "a.txt")
    assert len(load_records(odd, _data())) == 7


@pytest.fixture(scope="module")
def sst2():
    root = os.environ.get("FEDPEFT_DATA_ROOT")
    if not root or not Path(root, "sst2").is_dir():
        pytest.skip("FEDPEFT_DATA_ROOT does not name a folder that holds sst2/")
    return Path(root, "sst2", "sst2_train.jsonl")


def test_a_real_table_splits_evenly(sst2):
    sites = [SiteSettings(name=f"part{n}") for n in range(4)]
    data = _data(partition=PartitionSettings(kind="iid", path=sst2))
    sizes = {n: len(r) for n, r in read_sites(sites, data, PrivacySettings()).records.items()}
    assert sizes == {"part0": 1644, "part1": 1702, "part2": 1802, "part3": 1772}


class TestCheckSources:
    """Problems that are told before anything is read."""

    def _problem(self, site, data=None):
        problems = check_sources([site], data or _data())
        assert len(problems) <= 1
        return "".join(problems)

    def test_a_good_file_has_none(self, tmp_path):
        assert not self._problem(SiteSettings(name="a", path=_write(tmp_path / "a.jsonl", [])))

    def test_nothing_is_read(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b"\xff not records at all")
        assert not self._problem(SiteSettings(name="a", path=path))

    def test_absent_file(self, tmp_path):
        problem = self._problem(SiteSettings(name="a", path=tmp_path / "no.jsonl"))
        assert problem == f"sites.a.path: {tmp_path / 'no.jsonl'} does not exist; correct the path"

    def test_folder(self, tmp_path):
        problem = self._problem(SiteSettings(name="a", path=tmp_path))
        assert problem.startswith(f"sites.a.path: {tmp_path} is a folder; ")

    def test_no_right_to_read(self, tmp_path, monkeypatch):
        path = _write(tmp_path / "a.jsonl", [])
        path.chmod(0)

        def refuse(self, *args, **kwargs):  # the suite may run as a user whom no mode stops
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        assert "cannot be read (Permission denied)" in self._problem(SiteSettings(name="a", path=path))

    def test_no_path(self):
        assert self._problem(SiteSettings(name="a", package="json")).startswith("sites.a.path: is not given")

    def test_no_package(self):
        problem = self._problem(SiteSettings(name="a", path=Path("x")), DataSettings())
        assert problem.startswith("sites.a.package: is not given")

    def test_package_that_is_not_installed(self):
        problem = self._problem(SiteSettings(name="a", package="no_such_package_here"), DataSettings())
        assert problem.startswith("sites.a.package: package 'no_such_package_here' is not installed")

    def test_installed_package(self):
        assert not self._problem(SiteSettings(name="a", package="networkx"), DataSettings())
        assert not self._problem(SiteSettings(name="a", package="stdlib"), DataSettings())

    def test_all_sites_are_told(self, tmp_path):
        sites = [SiteSettings(name=name, path=tmp_path / name) for name in ("a", "b")]
        assert len(check_sources(sites, _data())) == 2

    def test_two_sites_cannot_share_data(self, tmp_path):
        path = _write(tmp_path / "a.jsonl", [])
        (tmp_path / "link.jsonl").symlink_to(path)
        sites = [SiteSettings(name="a", path=path), SiteSettings(name="b", path=tmp_path / "link.jsonl")]
        [problem] = check_sources(sites, _data())
        assert problem == "sites.b.path: is that of site 'a' already; give each its own data"
        twins = [SiteSettings(name=name, package="networkx") for name in ("a", "b")]
        assert len(check_sources(twins, DataSettings())) == 1

    def test_reading_checks_first(self, tmp_path):
        sites = [SiteSettings(name="a", path=tmp_path / "no.jsonl")]
        with pytest.raises(DataError, match="does not exist"):
            read_sites(sites, _data(), PrivacySettings())


def test_relative_paths_start_from_the_root(tmp_path):
    assert data_path(Path("x/a.jsonl"), _data(root=tmp_path)) == tmp_path / "x/a.jsonl"
    assert data_path(tmp_path / "b", _data(root=Path("/else"))) == tmp_path / "b"


class TestEvaluationFile:
    """A public file with the columns of [data]."""

    def test_needs_no_unit(self, tmp_path):
        path = _write(tmp_path / "e.jsonl", [{"instruction": "q", "response": "a", "kind": "t"}])
        [record] = load_records(path, _data(id=None, task="kind"))
        assert (record.instruction, record.response, record.task) == ("q", "a", "t")

    def test_absent_and_empty_files_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"^evaluation\.path: .*does not exist"):
            load_records(tmp_path / "no.jsonl", _data())
        with pytest.raises(DataError, match=r"^evaluation\.path: .*holds no records"):
            load_records(_write(tmp_path / "e.jsonl", []), _data())

    def test_check_names_the_key(self, tmp_path):
        assert (check_file(tmp_path, "evaluation.path") or "").startswith("evaluation.path: ")


def test_a_hard_link_is_the_same_file(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").hardlink_to(tmp_path / "a.jsonl")
    sites = [
        SiteSettings(name=name, path=tmp_path / f"{name}.jsonl", declared_units=1) for name in ("a", "b")
    ]
    (problem,) = check_sources(sites, DataSettings(source="jsonl"))
    assert "is that of site 'a' already" in problem
