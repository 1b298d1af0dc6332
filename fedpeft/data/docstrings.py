# SPDX-License-Identifier: Apache-2.0
"""The embedded public demonstration: docstrings of installed packages, one package an organization.

Duplicate texts are dropped over all packages together before anything is split. That looks across
organizations, which only public data allow; the data set that a guarantee speaks of is the table after this
step.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedpeft.cache import cache_dir
from fedpeft.data.docstring_tasks import make_record
from fedpeft.data.records import Record
from fedpeft.data.source_code import STANDARD_LIBRARY, CodeObject, SourceFile, read_objects, source_files
from fedpeft.errors import DataError

_RECIPE = 1  # of source_code.py; a change there that finds other objects must change it
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DocstringCorpus:
    """The records of several packages and what they came from.

    Attributes:
        records: by package, sorted by id; the id and the unit are the object's qualified name.
        content_hash: sha256 of all records, in hexadecimal digits.
        versions: of each package; that of Python for the standard library.
        python: version of the interpreter that read the source.
    """

    records: dict[str, list[Record]]
    content_hash: str
    versions: dict[str, str]
    python: str


def read_packages(packages: Sequence[str]) -> DocstringCorpus:
    """Read the docstrings of ``packages``; what was read before comes from the cache.

    The order of ``packages`` does not matter: of equal texts the package first in the alphabet keeps its own.

    Args:
        packages: names of installed top-level packages, and ``stdlib`` for the standard library.

    Raises:
        DataError: a package is not installed, or documents no public function.
    """
    objects: dict[str, list[CodeObject]] = {}
    versions: dict[str, str] = {}
    problems = []
    for package in sorted(set(packages)):
        files = source_files(package)
        versions[package] = package_version(package)
        objects[package] = _cached_objects(package, versions[package], files) if files else []
        if not files:
            problems.append(package_problem(package))
        elif not objects[package]:
            problems.append(f"package {package!r} documents no public function; name another package")
    if problems:
        raise DataError(problems)
    records = {package: _records(items) for package, items in _without_duplicates(objects).items()}
    return DocstringCorpus(records, _content_hash(records), versions, platform.python_version())


def package_problem(package: str) -> str:
    """Say that ``package`` is not there, and the mend."""
    hint = "pip install 'fedpeft[demo]'" if package in {"networkx", "pandas", "sympy"} else "install it"
    if not package.isidentifier():
        hint = "give a top-level name without dots or dashes, as an import statement would"
    return f"package {package!r} is not installed here, or has no Python source; {hint}, or name another"


def package_version(package: str) -> str:
    """Version of the distribution that has ``package``, or of Python for ``stdlib``; else ``"unknown"``."""
    if package == STANDARD_LIBRARY:
        return platform.python_version()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(package)
        return importlib.metadata.version(names[0]) if names else "unknown"


def _without_duplicates(objects: Mapping[str, Iterable[CodeObject]]) -> dict[str, list[CodeObject]]:
    seen: set[str] = set()
    kept: dict[str, list[CodeObject]] = {}
    for package, items in objects.items():
        kept[package] = []
        for item in items:
            folded = item.text.casefold()
            if folded not in seen:
                seen.add(folded)
                kept[package].append(item)
    return kept


def _records(items: Iterable[CodeObject]) -> list[Record]:
    made = (make_record(item) for item in items)
    return sorted((record for record in made if record is not None), key=lambda record: record.id)


def _content_hash(records: Mapping[str, Iterable[Record]]) -> str:
    digest = hashlib.sha256()
    for package in sorted(records):
        for record in records[package]:
            line = [package, record.id, record.task, record.instruction, record.response]
            digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _cached_objects(package: str, version: str, files: Sequence[SourceFile]) -> list[CodeObject]:
    """Objects of a package, from the cache when it holds what these very files gave."""
    place = cache_dir() / "docstrings" / f"{package}-{version}.json"
    key = _fingerprint(files)
    objects = _load(place, key)
    if objects is None:
        objects = read_objects(files)
        _store(place, key, objects)
    return objects


def _fingerprint(files: Sequence[SourceFile]) -> str:
    """Changes whenever a file does; a version number alone stays the same while a package is edited."""
    digest = hashlib.sha256(f"{_RECIPE} {platform.python_version()}".encode())
    for file in files:
        status = file.path.stat()
        digest.update(f"\n{file.path} {file.module} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _load(place: Path, key: str) -> list[CodeObject] | None:
    try:
        content = json.loads(place.read_bytes())
        if content["key"] != key or content["sha256"] != _objects_hash(content["objects"]):
            return None
        return [CodeObject(**item) for item in content["objects"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, or not what _store wrote: read the source again


def _store(place: Path, key: str, objects: Sequence[CodeObject]) -> None:
    items = [asdict(item) for item in objects]
    content = json.dumps({"key": key, "sha256": _objects_hash(items), "objects": items})
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:  # a cache that cannot be written costs time, not the run
        _log.warning("docstrings of %s are not cached: %s", place.stem, error)


def _objects_hash(items: object) -> str:
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()
