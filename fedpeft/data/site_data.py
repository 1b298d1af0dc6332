# SPDX-License-Identifier: Apache-2.0
"""From a site's source to what it trains on: units of encoded examples, and the records it holds out.

Every step here - the split, the choice of a unit's records, encoding, cutting - is a function of one unit and
public constants. Adding or removing a unit therefore changes nothing about any other. (The docstring corpus
is public and drops duplicates before it gets here.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpeft.data.docstrings import package_problem, read_packages
from fedpeft.data.jsonl import RECORD_UNIT, read_jsonl
from fedpeft.data.prompts import Example, Prompter
from fedpeft.data.records import Record
from fedpeft.data.source_code import find_package
from fedpeft.data.split import choose_within_unit, is_held_out
from fedpeft.errors import ConfigError, DataError
from fedpeft.settings import DataSettings, PrivacySettings, SiteSettings
from fedpeft.types import JsonDict


@dataclass(frozen=True, slots=True)
class SiteData:
    """What one site has. Private, all of it, unless its data are public.

    Attributes:
        name: of the site.
        units: training examples by unit, keys sorted; none of a held-out unit.
        held_out: every record of the held-out units.
        share_truncated: of the training examples, how many were cut; for the site's own log only.
    """

    name: str
    units: dict[str, tuple[Example, ...]]
    held_out: list[Record]
    share_truncated: float


@dataclass(frozen=True, slots=True)
class SourceRecords:
    """Records as the sources gave them.

    Attributes:
        records: by site.
        provenance: public facts for the result: for docstrings the content hash and versions.
    """

    records: dict[str, list[Record]]
    provenance: JsonDict


def check_sources(sites: Sequence[SiteSettings], data: DataSettings) -> list[str]:
    """List what can be told about the sources without reading data: absent files, unknown packages.

    Also two sites with one source: their data would not be disjoint, which the run's guarantee takes them
    to be.

    Returns:
        One line for each problem; none when reading may begin.
    """
    problems: list[str] = []
    owners: dict[str, str] = {}
    for site in sites:
        if data.source == "docstrings":
            problem = _check_package(site)
            key, source = "package", site.package or ""
        else:
            problem = _check_path(site, data)
            key, source = "path", _file_identity(site_path(site, data))
        if problem:
            problems.append(problem)
        elif (other := owners.setdefault(source, site.name)) != site.name:
            problems.append(
                f"sites.{site.name}.{key}: is that of site {other!r} already; give each its own data"
            )
    return problems


def _file_identity(path: Path) -> str:
    """The same for all names of one file, hard links and symbolic ones."""
    try:
        found = path.stat()
    except OSError:
        return str(path)
    return f"{found.st_dev}:{found.st_ino}"


def check_file(path: Path, key: str) -> str | None:
    """Say what keeps a file from being read, naming the configuration's ``key``; ``None``: nothing does."""
    try:
        if path.is_dir():
            return f"{key}: {path} is a folder; name the jsonl file in it"
        if not path.is_file():
            return f"{key}: {path} does not exist; correct the path"
        with path.open("rb"):
            return None
    except OSError as error:
        return f"{key}: {path} cannot be read ({error.strerror}); give this user the right to read it"


def site_path(site: SiteSettings, data: DataSettings) -> Path:
    """Where the file of ``site`` lies: relative paths start from ``data.root``."""
    path = (site.path or Path()).expanduser()
    return data.root.expanduser() / path if data.root else path


def read_sites(sites: Sequence[SiteSettings], data: DataSettings, privacy: PrivacySettings) -> SourceRecords:
    """Read the records of every site; needs no backbone.

    Raises:
        DataError: a source is absent or wrong; the problems of all sites together.
        ConfigError: a unit that docstrings do not have.
    """
    if problems := check_sources(sites, data):
        raise DataError(problems)
    if data.source == "docstrings":
        return _read_docstrings(sites, privacy)
    records: dict[str, list[Record]] = {}
    for site in sites:
        try:
            records[site.name] = read_jsonl(
                site_path(site, data), data, unit=privacy.unit, missing_unit=privacy.missing_unit
            )
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return SourceRecords(records, {"source": "jsonl"})


def encode_site(
    name: str, records: Sequence[Record], data: DataSettings, privacy: PrivacySettings, prompter: Prompter
) -> SiteData:
    """Split the records of one site by unit and encode those that train."""
    by_unit: dict[str, list[Record]] = {}
    for record in records:
        by_unit.setdefault(record.unit, []).append(record)
    units: dict[str, tuple[Example, ...]] = {}
    held_out: list[Record] = []
    for unit in sorted(by_unit):
        if is_held_out(unit, data.held_out):
            held_out += sorted(by_unit[unit], key=lambda record: record.id)
            continue
        chosen = choose_within_unit(by_unit[unit], privacy.max_records_per_unit)
        units[unit] = tuple(prompter.encode(record.instruction, record.response) for record in chosen)
    return SiteData(name, units, held_out, _share_truncated(units))


def load_records(path: Path, data: DataSettings) -> list[Record]:
    """Read a public evaluation file: the columns of ``data``, no unit.

    Raises:
        DataError: the file is absent, wrong or empty.
    """
    if problem := check_file(path, "evaluation.path"):
        raise DataError(problem)
    records = read_jsonl(path, data, unit=RECORD_UNIT, missing_unit="record")
    if not records:
        raise DataError(f"evaluation.path: {path} holds no records; name a file that does")
    return records


def _check_package(site: SiteSettings) -> str | None:
    if site.package is None:
        return f"sites.{site.name}.package: is not given; name an installed package, or 'stdlib'"
    if not find_package(site.package):
        return f"sites.{site.name}.package: {package_problem(site.package)}"
    return None


def _check_path(site: SiteSettings, data: DataSettings) -> str | None:
    if site.path is None:
        return f"sites.{site.name}.path: is not given; name the site's jsonl file"
    return check_file(site_path(site, data), f"sites.{site.name}.path")


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


def _share_truncated(units: Mapping[str, Sequence[Example]]) -> float:
    cut = [example.truncated for examples in units.values() for example in examples]
    return sum(cut) / len(cut) if cut else 0.0
