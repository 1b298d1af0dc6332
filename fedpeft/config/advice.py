# SPDX-License-Identifier: Apache-2.0
"""What is worth saying about a configuration that is valid: absent files, and choices to think over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedpeft.config.problems import shown
from fedpeft.config.run_config import RunConfig, default_delta
from fedpeft.config.source_checks import tables_of


def missing_files(config: RunConfig) -> list[str]:
    """The files that the configuration names and that are not there, one line each.

    A run cannot do without them; a plan can.
    """
    return list(_missing(config))


def warnings_of(config: RunConfig) -> list[str]:
    """What weakens the claim or the training without being an error, one line each, with the figures."""
    about = (_about_delta, _about_batches, _about_ranks, _about_disclosure)
    return [line for tell in about for line in tell(config)]


def _missing(config: RunConfig) -> Iterator[str]:
    backbone = Path(config.model.backbone)
    if backbone.is_absolute() and not backbone.exists():
        yield f"model.backbone = {shown(str(backbone))}: no such file or folder; mend the path"
    if config.evaluation.path is not None and not config.evaluation.path.is_file():
        yield _no_file("evaluation.path", config.evaluation.path)
    if config.synthesis.path is not None and not config.synthesis.path.is_file():
        yield _no_file("synthesis.path", config.synthesis.path)
    start = config.privacy.allocation_start
    if start is not None and not start.is_file():
        yield f"privacy.allocation_start = {start}: no such file; mend the path"
    rows = config.adapter.start_file
    if rows is not None and not rows.is_file():
        yield f"adapter.start_file = {rows}: no such file; mend the path"
    data = config.selection.data
    if data is not None and not data.exists():
        yield _no_file("selection.data", data)
    for key, table in tables_of(config).items():
        for path in table.files:
            if not path.is_file():
                yield _no_file(f"{key}.path" if path == table.path else f"{key}.paths", path)
        folder = Path(table.dataset or "")
        if folder.is_absolute() and not folder.is_dir():
            yield _no_file(f"{key}.dataset", folder)


def _no_file(key: str, path: Path) -> str:
    return (
        f"{key} = {path}: no such file; mend the path, or give the folder that it starts from with "
        "--set data.root=DIR or FEDPEFT_DATA_ROOT"
    )


def _about_delta(config: RunConfig) -> Iterator[str]:
    delta = config.delta
    for name, num_units in config.declared_units.items():
        most = default_delta(num_units)
        if delta > most:
            yield (
                f"privacy.delta = {delta:.3g}: above 1/declared_units^1.1 = {most:.3g} of site {name} "
                f"({num_units} units); a smaller delta makes the claim mean more"
            )


def _about_batches(config: RunConfig) -> Iterator[str]:
    rate = config.training.sampling_rate
    for name, num_units in config.declared_units.items():
        expected_batch = rate * num_units
        if expected_batch < 1:
            yield (
                f"training.sampling_rate = {rate:g}: an expected batch of {expected_batch:.3g} units at site "
                f"{name} ({num_units} units), below 1; most of its steps are noise alone: raise the rate"
            )


def _about_ranks(config: RunConfig) -> Iterator[str]:
    adapter, ranks = config.adapter, [site.rank or config.adapter.rank for site in config.sites]
    if ranks and max(ranks) < adapter.rank:
        yield (
            f"adapter.rank = {adapter.rank}: no site trains more than {max(ranks)} of these directions, and "
            "the others are only sent; lower it"
        )
    if config.federation.aggregation != "fedex" or adapter.kind != "lora":
        return
    room = config.federation.rounds * (len(config.sites) - 1) * adapter.rank
    if adapter.residual_rank < room:
        yield (
            f"adapter.residual_rank = {adapter.residual_rank}: {room} directions can be left over in "
            f"{config.federation.rounds} rounds; where a weight has more, the nearest matrix of this rank is "
            "kept and means are not exact"
        )


def _about_disclosure(config: RunConfig) -> Iterator[str]:
    if config.run.seed is not None:
        yield (
            f"run.seed = {config.run.seed}: a seeded run is reproducible and has no guarantee; "
            "leave it out for one"
        )
    evaluates_private = config.data.source != "docstrings" and config.evaluation.records > 0
    if evaluates_private and not config.evaluation.public:
        yield (
            "evaluation.public = false: exact metrics on records that are not public are marked NOT PRIVATE; "
            "declare them public if they are, or set evaluation.records = 0"
        )
