# SPDX-License-Identifier: Apache-2.0
"""What must hold between the source of the records, the sites and the evaluation file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

from fedpeft.config.problems import Problem, shown
from fedpeft.settings import PartitionSettings, SiteSettings, Table

if TYPE_CHECKING:
    from fedpeft.config.run_config import RunConfig

_FILES: Final = ("path", "paths")
_HUB: Final = ("dataset", "subset", "split", "revision")
_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "jsonl": _FILES,
    "csv": _FILES,
    "parquet": _FILES,
    "hub": _HUB,
    "docstrings": ("package",),
    "python": (),
    "sites": (),
}
"""The keys that tell where a table lies, by source; it must have the first, or for files any."""


def tables_of(config: RunConfig) -> dict[str, Table]:
    """What tells where records lie, by the key that it stands at: every site, or the one partition."""
    if config.data.partition.kind != "none":
        return {"data.partition": config.data.partition}
    return {f"sites.{site.name}": site for site in config.sites}


def _each_table_has_its_source(config: RunConfig) -> Iterator[Problem]:
    source = config.data.source
    wanted = _KEYS[source]
    for key, table in tables_of(config).items():
        if source == "docstrings" and not isinstance(table, SiteSettings):
            continue  # no kind of partition goes with them
        if wanted and not any(getattr(table, name, None) for name in wanted):
            where = "at every site" if isinstance(table, SiteSettings) else "there"
            line = f'{key}.{wanted[0]}: missing, and data.source = "{source}" needs it {where}; add it'
            needed = tuple(f"{key}.{name}" for name in wanted)
            yield Problem((*needed, "data.source", "data.partition.kind"), line)
        for name in (*_FILES, *_HUB, "package"):
            value = getattr(table, name, None)
            if value and name not in wanted:
                others = " or ".join(
                    f'data.source = "{other}"' for other, keys in _KEYS.items() if name in keys
                )
                line = f'has no use with data.source = "{source}"; remove it, or set {others}'
                yield Problem(
                    (f"{key}.{name}", "data.source"), f"{key}.{name} = {shown(_plain(value))}: {line}"
                )


def _partition(config: RunConfig) -> Iterator[Problem]:
    partition, kind, key = config.data.partition, config.data.partition.kind, "data.partition"
    if kind == "none":
        injected = {"label_noise", "feedback_bias"} | (
            {"seed"} if partition.label_noise or partition.feedback_bias else set()
        )
        for name, field in PartitionSettings.model_fields.items():
            value = getattr(partition, name)
            if value != field.default and name not in injected:
                rule = 'has no use with data.partition.kind = "none"; remove it, or choose a kind'
                yield Problem(
                    (f"{key}.{name}", f"{key}.kind"), f"{key}.{name} = {shown(_plain(value))}: {rule}"
                )
        return
    lines = {}
    if config.data.source == "docstrings":
        lines["kind"] = f' = "{kind}": docstrings are split by package already; leave it out'
    if config.data.source == "sites":
        lines["kind"] = f' = "{kind}": each organization has its own records already; leave it out'
    if kind == "column" and partition.column is None:
        lines["column"] = ': missing, and kind "column" needs it; add the public column that tells the site'
    if kind != "column" and partition.column is not None:
        lines["column"] = f' = {shown(partition.column)}: has no use with kind "{kind}"; remove it'
    if kind == "dirichlet" and config.data.task is None:
        lines["kind"] = ' = "dirichlet": needs tasks, which draw the shares; name their column in data.task'
    if partition.parts is not None and partition.parts != len(config.sites):
        rule = f"must be the number of tables [[sites]], {len(config.sites)}; leave out one of the two"
        lines["parts"] = f" = {partition.parts}: {rule}"
    for name, words in lines.items():
        yield Problem((f"{key}.{name}", f"{key}.kind", "data.source", "sites"), f"{key}.{name}{words}")


def _sites_of_a_partition(config: RunConfig) -> Iterator[Problem]:
    """A site of a partition has no data of its own; only one by column has a value, which no other has."""
    kind = config.data.partition.kind
    values: dict[str, str] = {}
    for site in config.sites:
        for name in (*_FILES, *_HUB, "package") if kind != "none" else ():
            if value := getattr(site, name):
                rule = (
                    f'has no use with data.partition.kind = "{kind}", whose table has all records; remove it'
                )
                key = f"sites.{site.name}.{name}"
                yield Problem((key, "data.partition.kind"), f"{key} = {shown(_plain(value))}: {rule}")
        key = f"sites.{site.name}.value"
        if kind != "column" and site.value is not None:
            rule = 'has no use without data.partition.kind = "column"; remove it'
            yield Problem((key, "data.partition.kind"), f"{key} = {shown(site.value)}: {rule}")
        elif kind == "column":
            value = normalize("NFC", (site.value or site.name).strip())
            if (owner := values.setdefault(value, site.name)) != site.name:
                line = f"{key} = {shown(value)}: is that of site {owner} already; give each its own"
                yield Problem((key, "data.partition.kind"), line)


def _sites_are_disjoint(config: RunConfig) -> Iterator[Problem]:
    """The guarantee of the adapter is the largest of the sites' only where their data do not overlap."""
    owners: dict[str, tuple[str, str]] = {}
    for key, table in tables_of(config).items():
        for name, value, identity in _identities(table):
            if identity not in owners:
                owners[identity] = key, name
                continue
            owner_key, owner_name = owners[identity]
            owner = "named twice" if owner_key == key else f"the data of site {owner_key[6:]} already"
            rule = f"is {owner}, and each record may be counted at one site only"
            line = f"{key}.{name} = {shown(value)}: {rule}; give each site its own data"
            yield Problem((f"{key}.{name}", f"{owner_key}.{owner_name}"), line)


def _identities(table: Table) -> Iterator[tuple[str, str, str]]:
    """Each source of a table: its key, its value, and what is the same where the data are."""
    if table.path is not None:
        yield "path", str(table.path), f"file {table.path}"
    for path in table.paths:
        yield "paths", str(path), f"file {path}"
    if isinstance(table, SiteSettings) and table.package:
        yield "package", table.package, f"package {table.package}"
    if table.dataset:  # whatever the revision: two of them have records in common
        yield "dataset", table.dataset, f"{_split_of(table)} {table.subset}"


def _split_of(table: Table) -> str:
    return f"{(table.dataset or '').casefold()} {table.split or 'train'}"


def _unnamed_subset(config: RunConfig) -> Iterator[Problem]:
    """Of two sites with one data set and split, neither may leave its subset open: they could be the same."""
    users: dict[str, list[tuple[str, Table]]] = {}
    for key, table in tables_of(config).items():
        if table.dataset:
            users.setdefault(_split_of(table), []).append((key, table))
    for sharing in users.values():
        for key, table in sharing:
            if len(sharing) > 1 and table.subset is None:
                rule = "missing, and another site has this data set and split"
                line = f"{key}.subset: {rule}; name the subset, so that they can be seen to differ"
                yield Problem((f"{key}.subset", f"{key}.dataset"), line)


def _unit(config: RunConfig) -> Iterator[Problem]:
    unit = config.privacy.unit
    if config.data.source == "docstrings" and unit != "record":
        rule = 'must be "record" with data.source = "docstrings", whose records belong to nobody in common'
        line = f'privacy.unit = {shown(unit)}: {rule}; leave it out, or set data.source = "jsonl"'
        yield Problem(("privacy.unit", "data.source"), line)


def _evaluation_of_a_deployment(config: RunConfig) -> Iterator[Problem]:
    evaluation = config.evaluation
    if config.data.source == "sites" and evaluation.records and evaluation.path is None:
        rule = "what organizations hold out stays with them; set evaluation.path to a file, or leave it out"
        keys = ("evaluation.records", "evaluation.path", "data.source")
        yield Problem(keys, f"evaluation.records = {evaluation.records}: {rule}")
    elif config.data.source == "sites" and evaluation.records and not evaluation.public:
        rule = "every site gets result.json; declare the records of evaluation.path public, or set it to 0"
        keys = ("evaluation.records", "evaluation.public", "data.source")
        yield Problem(keys, f"evaluation.records = {evaluation.records}: {rule}")


def _loss_of_a_deployment(config: RunConfig) -> Iterator[Problem]:
    """No request tells a site which loss to take."""
    training, rule = (
        config.training,
        'with data.source = "sites", whose sites take cross-entropy; leave it out',
    )
    if config.data.source == "sites" and training.loss_q > 0:
        line = f"training.loss_q = {training.loss_q}: must be 0 {rule}"
        yield Problem(("training.loss_q", "data.source"), line)
    if config.data.source == "sites" and training.loss_tokens != "all":
        line = f'training.loss_tokens = {shown(training.loss_tokens)}: must be "all" {rule}'
        yield Problem(("training.loss_tokens", "data.source"), line)


def _evaluation_is_no_site(config: RunConfig) -> Iterator[Problem]:
    """Exact metrics on records that train would not be covered by anything."""
    yield from _is_no_site(
        config, "evaluation.path", config.evaluation.path, "leave it out to evaluate held-out records"
    )


def _pool_is_no_site(config: RunConfig) -> Iterator[Problem]:
    """Rows of the pool are kept and used as public data."""
    yield from _is_no_site(
        config, "synthesis.path", config.synthesis.path, "leave it out for the bundled pool"
    )


def _rows_to_choose_by_are_no_site(config: RunConfig) -> Iterator[Problem]:
    """What blocks are chosen by, and what a warm start trains on without noise, must be public."""
    yield from _is_no_site(
        config, "selection.data", config.selection.data, "rows of a site would be used without any noise"
    )


def _is_no_site(config: RunConfig, public_key: str, path: Path | None, mend: str) -> Iterator[Problem]:
    for key in sites_that_train_on(config, path):
        who = key.replace("sites.", "site ")
        line = f"{public_key} = {shown(str(path))}: is what {who} trains on; {mend}, or name another file"
        yield Problem((public_key, f"{key}.path"), line)


def sites_that_train_on(config: RunConfig, path: Path | None) -> list[str]:
    """The keys of the tables that ``path``, by whatever name, is a file of, or of the data set of."""
    if path is None:
        return []
    found = []
    for key, table in tables_of(config).items():
        folder = Path(table.dataset) if table.dataset else None
        inside = folder is not None and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
        if inside or any(_is_same(path, file) for file in table.files):
            found.append(key)
    return found


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file; hard links are."""
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _plain(value: object) -> object:
    return [str(part) for part in value] if isinstance(value, tuple) else value


SOURCE_CHECKS: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (
    _evaluation_of_a_deployment,
    _loss_of_a_deployment,
    _evaluation_is_no_site,
    _pool_is_no_site,
    _rows_to_choose_by_are_no_site,
    _each_table_has_its_source,
    _partition,
    _sites_of_a_partition,
    _sites_are_disjoint,
    _unnamed_subset,
    _unit,
)
"""In the order of the sections."""
