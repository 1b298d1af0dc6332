# SPDX-License-Identifier: Apache-2.0
"""An allocation that begins at the gradients of public rows: theirs exactly, free, reported apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpeft.allocation_start import allocation_start, statistics_of
from fedpeft.errors import ConfigError
from fedpeft.flower.simulation import simulate
from fedpeft.privacy.ledger import show
from fedpeft.selection.row_gradients import row_gradients
from fedpeft.selection.rows import encode
from fedpeft.testing import loop_gradients
from fedpeft.workspace import Workspace
from tests.public_rows import config_of, tiny_run_and_public_rows  # noqa: F401 - a fixture

START = ("selection.allocation_start=true", 'privacy.allocation="instability"')
PUBLIC = 'selection.data="public.jsonl"'


def test_statistics_are_those_of_the_rows_gradients(folder: Path) -> None:
    with Workspace(config_of(folder, *START, PUBLIC), folder / "run") as workspace:
        workspace.data.clear()  # no site is looked at
        found = allocation_start(workspace)
        again = allocation_start(workspace)
        adapter = workspace.adapter
        records = [r for r in _records(workspace) if r.unit]
        examples = encode(records, workspace.prompter)
        loops = [loop_gradients(adapter, adapter.zeros(), example) for example in examples]
        gradients = np.array([np.concatenate([g.numpy().ravel() for g in own]) for own in loops])
        rows = row_gradients(adapter, examples)
        empty = row_gradients(adapter, [])
    assert found is not None
    assert "16 rows (public file, SHA-256 " in found.source
    for name in ("variance", "importance", "uncertainty"):
        assert np.array_equal(getattr(found, name), getattr(again, name))
    assert np.sort(rows.sum(1)) == pytest.approx(np.sort(gradients.sum(1)), rel=1e-3, abs=1e-4)
    for number, segment in enumerate(workspace.adapter.layout.segments):
        part = gradients[:, segment.slice]
        assert found.variance[number] == pytest.approx(part.var(0).mean(), rel=1e-3)
        assert found.importance[number] == pytest.approx(np.square(part.mean(0)).mean(), rel=1e-3)
    assert empty.shape == (0, workspace.adapter.layout.size)


def _records(workspace: Workspace) -> list:
    from fedpeft.layer_choice import read_split

    rows = read_split(workspace.config)
    assert rows is not None
    return list(rows.rows.records)


@pytest.mark.parametrize(
    ("rows", "source"),
    [((PUBLIC,), "public file"), (("synthesis.generator=public", "synthesis.size=30"), "synthetic")],
)
def test_a_run_begins_there_at_no_cost(folder: Path, rows: tuple[str, ...], source: str) -> None:
    result = simulate(config_of(folder, *START, *rows), folder / "run")
    plain = simulate(config_of(folder, START[1]), folder / "plain")
    assert source in result["allocation_start"]
    assert plain["allocation_start"] is None
    assert result["noise_multiplier_by_site"] == plain["noise_multiplier_by_site"]
    ledgers = [show(folder / run / "ledger" / "site0.sqlite") for run in ("run", "plain")]
    assert [row.event for row in ledgers[0]] == [row.event for row in ledgers[1]]


def test_without_the_key_a_file_or_nothing_is_what_it_starts_from(folder: Path) -> None:
    with Workspace(config_of(folder, PUBLIC), folder / "run") as workspace:
        assert allocation_start(workspace) is None
        made = statistics_of(workspace.adapter, encode(_records(workspace), workspace.prompter), "mine")
        workspace.public_start = made
        assert allocation_start(workspace) is made


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (START, "looks at the rows of selection.data"),
        ((START[0], PUBLIC), "has no use with privacy.allocation"),
        ((*START, PUBLIC, "privacy.allocation_start=there.json"), "two starts"),
    ],
)
def test_what_cannot_go_together_is_told(folder: Path, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config_of(folder, *overrides)
