# SPDX-License-Identifier: Apache-2.0
"""The records of every site of a run, from whatever source its configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedpeft.data.arrow import as_dataset, dataset_rows, load_dataset, parquet_rows
from fedpeft.data.csv_file import csv_rows
from fedpeft.data.docstrings import package_problem, read_packages
from fedpeft.data.jsonl import jsonl_rows
from fedpeft.data.partition import split_over_sites
from fedpeft.data.records import Record
from fedpeft.data.rows import RECORD_UNIT, Rows, read_records
from fedpeft.data.source_code import find_package
from fedpeft.errors import ConfigError, DataError
from fedpeft.settings import DataSettings, PrivacySettings, SiteSettings, Table
from fedpeft.types import JsonDict

POOL: Final = "data.partition"
"""The name of the one table of a partition, where a site's would stand."""

_FORMATS: Final[dict[str, Callable[[Path], Rows]]] = {
    "jsonl": jsonl_rows,
    "csv": csv_rows,
    "parquet": parquet_rows,
}

Datasets = Mapping[str, Any]
"""A ``datasets.Dataset`` by the name of each site, or by ``"data.partition"``."""


@dataclass(frozen=True, slots=True)
class SourceRecords:
    """Records as the sources gave them.

    Attributes:
        records: by site.
        provenance: public facts for the result: for docstrings the content hash and versions.
    """

    records: dict[str, list[Record]]
    provenance: JsonDict


def check_sources(
    sites: Sequence[SiteSettings], data: DataSettings, datasets: Datasets | None = None
) -> list[str]:
    """List what can be told about the sources without reading data: absent files, unknown packages.

    Also two sites with one source: their data would not be disjoint, which the run's guarantee takes them
    to be.

    Returns:
        One line for each problem; none when reading may begin.
    """
    if data.source == "python":
        return _check_datasets(list(_tables(sites, data)), datasets)
    if data.source == "sites":
        return [
            'data.source = "sites": the records are at the organizations, so this is no simulation; start it '
            "with `flwr run` (the coordinator's run.sh, and resume.sh to go on), or name a source that this "
            "machine has"
        ]
    problems: list[str] = []
    owners: dict[str, str] = {}
    for name, table in _tables(sites, data).items():
        for key, problem, identity in _check_table(_key(name), table, data):
            if problem:
                problems.append(problem)
            elif identity in owners:
                owner = (
                    "named twice"
                    if owners[identity] == name
                    else f"that of site {owners[identity]!r} already"
                )
                problems.append(f"{key}: is {owner}; give each its own data")
            else:
                owners[identity] = name
    return problems


def check_file(path: Path, key: str) -> str | None:
    """Say what keeps a file from being read, naming the configuration's ``key``; ``None``: nothing does."""
    try:
        if path.is_dir():
            return f"{key}: {path} is a folder; name the file in it"
        if not path.is_file():
            return f"{key}: {path} does not exist; correct the path"
        with path.open("rb"):
            return None
    except OSError as error:
        return f"{key}: {path} cannot be read ({error.strerror}); give this user the right to read it"


def data_path(path: Path, data: DataSettings) -> Path:
    """Where a file of records lies: relative paths start from ``data.root``."""
    path = path.expanduser()
    return data.root.expanduser() / path if data.root else path


def read_sites(
    sites: Sequence[SiteSettings],
    data: DataSettings,
    privacy: PrivacySettings,
    datasets: Datasets | None = None,
) -> SourceRecords:
    """Read the records of every site; needs no backbone.

    Args:
        sites: of the run.
        data: the source and its columns.
        privacy: the unit.
        datasets: of source ``python``.

    Raises:
        DataError: a source is absent or wrong; the problems of all sites together.
        ConfigError: a unit that docstrings do not have.
    """
    if problems := check_sources(sites, data, datasets):
        raise DataError(problems)
    if data.source == "docstrings":
        return _read_docstrings(sites, privacy)
    records: dict[str, list[Record]] = {}
    for name, table in _tables(sites, data).items():
        given = None if datasets is None else datasets.get(name)
        try:
            records[name] = read_records(
                _rows(_key(name), table, data, given),
                data,
                unit=privacy.unit,
                missing_unit=privacy.missing_unit,
            )
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    if data.partition.kind == "none":
        return SourceRecords(records, {"source": data.source})
    parts = split_over_sites(records[POOL], sites, data.partition)
    partition = {"kind": data.partition.kind, "seed": data.partition.seed}
    return SourceRecords(parts, {"source": data.source, "partition": partition})


def load_records(
    path: Path, data: DataSettings, *, key: str = "evaluation.path", unit: str = RECORD_UNIT
) -> list[Record]:
    """Read a public file with the columns of ``data``; its ending tells its format.

    Args:
        path: of the file.
        data: names the columns.
        key: of the configuration that names the file.
        unit: column that rows of one origin share; default: each is by itself.

    Raises:
        DataError: the file is absent, wrong or empty.
    """
    if problem := check_file(path, key):
        raise DataError(problem)
    rows = _FORMATS.get(path.suffix.lower().removeprefix("."), jsonl_rows)
    whole = data.model_copy(update={"partition": type(data.partition)()})
    records = read_records([(str(path), rows(path))], whole, unit=unit, missing_unit="record")
    if not records:
        raise DataError(f"{key}: {path} holds no records; name a file that does")
    return records


def _tables(sites: Sequence[SiteSettings], data: DataSettings) -> dict[str, Table]:
    if data.partition.kind != "none":
        return {POOL: data.partition}
    return {site.name: site for site in sites}


def _key(name: str) -> str:
    return name if name == POOL else f"sites.{name}"


def _rows(key: str, table: Table, data: DataSettings, given: Any) -> Iterator[tuple[str, Rows]]:
    if data.source == "python":
        yield key, dataset_rows(given)
    elif data.source == "hub":
        yield table.dataset or "", dataset_rows(load_dataset(table, key))
    else:
        for path in table.files:
            place = data_path(path, data)
            yield str(place), _FORMATS[data.source](place)


def _check_table(key: str, table: Table, data: DataSettings) -> Iterator[tuple[str, str | None, str]]:
    """For each source that a table names: its key, what is wrong with it, what all of its names share."""
    if data.source == "docstrings":
        package = table.package if isinstance(table, SiteSettings) else None
        yield f"{key}.package", _check_package(f"{key}.package", package), package or ""
    elif data.source == "hub":
        absent = None if table.dataset else f"{key}.dataset: is not given; name a hub id or a folder"
        identity = " ".join([(table.dataset or "").casefold(), table.subset or "", table.split or "train"])
        yield f"{key}.dataset", absent, identity
    elif not table.files:
        yield f"{key}.path", f"{key}.path: is not given; name a {data.source} file", ""
    else:
        for path in table.files:
            place = data_path(path, data)
            yield f"{key}.path", check_file(place, f"{key}.path"), _file_identity(place)


def _file_identity(path: Path) -> str:
    """The same for all names of one file, hard links and symbolic ones."""
    try:
        found = path.stat()
    except OSError:
        return str(path)
    return f"{found.st_dev}:{found.st_ino}"


def _check_package(key: str, package: str | None) -> str | None:
    if package is None:
        return f"{key}: is not given; name an installed package, or 'stdlib'"
    if not find_package(package):
        return f"{key}: {package_problem(package)}"
    return None


def _check_datasets(names: Sequence[str], datasets: Datasets | None) -> list[str]:
    if datasets is None:
        return [
            'data.source = "python": the data of this run are objects of the program that begins it; '
            "there, call fedpeft.simulate(config, datasets={...}), and fedpeft.resume likewise"
        ]
    problems = [f"datasets[{name!r}]: is not given; add it" for name in names if name not in datasets]
    owners: dict[int, str] = {}
    for name, found in datasets.items():
        if name not in names:
            problems.append(f"datasets[{name!r}]: is no site's; name one of {', '.join(names)}")
            continue
        try:
            as_dataset(found, f"datasets[{name!r}]")
        except DataError as error:
            problems += error.problems
        if (owner := owners.setdefault(id(found), name)) != name:
            problems.append(f"datasets[{name!r}]: is that of site {owner!r} already; give each its own data")
    return problems


def _read_docstrings(sites: Sequence[SiteSettings], privacy: PrivacySettings) -> SourceRecords:
    if privacy.unit != RECORD_UNIT:
        raise ConfigError(
            f"privacy.unit is {privacy.unit!r}, but docstrings have no columns; it must be {RECORD_UNIT!r}"
        )
    packages = {site.name: site.package or "" for site in sites}
    corpus = read_packages(list(packages.values()))
    provenance: JsonDict = {
        "source": "docstrings",
        "content_hash": corpus.content_hash,
        "versions": corpus.versions,
        "python": corpus.python,
    }
    return SourceRecords({name: corpus.records[package] for name, package in packages.items()}, provenance)
