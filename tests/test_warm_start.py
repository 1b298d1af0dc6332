# SPDX-License-Identifier: Apache-2.0
"""A start on public rows: better than the untouched backbone there, reported apart, free of charge."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from fedpeft.checkpoint import load
from fedpeft.config import load_config
from fedpeft.errors import ConfigError
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.flower.simulation import simulate
from fedpeft.warm_start import warm_start
from fedpeft.workspace import Workspace
from tests.public_rows import config_of, tiny_run_and_public_rows  # noqa: F401 - a fixture

WARM = ("selection.warm_start=6", 'selection.data="public.jsonl"', 'evaluation.path="public.jsonl"')


def test_without_steps_the_start_is_zero(folder: Path) -> None:
    with Workspace(config_of(folder), folder / "run") as workspace:
        start = warm_start(workspace)
    assert start.facts is None
    assert not start.vector.any()


def test_it_repeats_and_reads_no_site(folder: Path) -> None:
    heard = []
    vectors = []
    for _ in range(2):
        with Workspace(config_of(folder, *WARM), folder / "run") as workspace:
            workspace.data.clear()
            start = warm_start(workspace, lambda *done: heard.append(done))
        vectors.append(start.vector)
    assert np.array_equal(*vectors)
    assert vectors[0].any()
    assert [done for _, done, _ in heard[:6]] == [1, 2, 3, 4, 5, 6]
    assert start.facts is not None
    assert start.facts["steps"] == 6
    assert start.facts["data"]["rows"] == 16


def test_a_run_begins_there_and_reports_it_apart(folder: Path) -> None:
    result = simulate(
        config_of(folder, *WARM, "training.learning_rate=1e-6", "selection.batch=16"), folder / "run"
    )
    tuned = simulate(config_of(folder, *WARM), folder / "warm")
    plain = simulate(config_of(folder, WARM[2]), folder / "plain")
    assert plain["warm_start"] is None
    assert result["warm_start"]["steps"] == 6
    assert (
        tuned["warm_start"]["metrics"]["perplexity"]["value"]
        < tuned["metrics"]["before"]["perplexity"]["value"]
    )
    assert tuned["metrics"]["before"] == plain["metrics"]["before"]
    assert tuned["epsilon_spent"] == plain["epsilon_spent"]
    assert events(folder / "warm") == events(folder / "plain")


def events(run: Path) -> list[list[tuple[str, ...]]]:
    """What each site was charged for."""
    found = []
    for path in sorted((run / "ledger").glob("*.sqlite")):
        with sqlite3.connect(path) as database:
            found.append(database.execute("select event from events").fetchall())
    return found


def test_rounds_begin_at_the_warm_vector(folder: Path) -> None:
    class Interrupting:
        def stage(self, label: str, done: int, total: int) -> None: ...
        def evaluating(self, label: str, done: int, total: int) -> None: ...
        def evaluated(self, rounds_done: int, metrics: object) -> None: ...
        def site_step(self, site: str, step: object) -> None:
            raise KeyboardInterrupt

        def round_done(self, *_: object) -> None: ...

    simulate(config_of(folder, *WARM), folder / "run", Interrupting())
    with Workspace(config_of(folder, *WARM), folder / "other") as workspace:
        expected = warm_start(workspace).vector
    kept = load(folder / "run" / CHECKPOINT_FOLDER)
    assert kept.rounds_completed == 0
    assert np.array_equal(kept.adapter, expected)


def test_it_needs_rows(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"selection.warm_start = 3: looks at the rows"):
        config_of(folder, "selection.warm_start=3")
    with pytest.raises(ConfigError, match=r"absent.jsonl"):
        load_config(
            folder / "run.toml",
            ["selection.warm_start=3", 'selection.data="absent.jsonl"'],
            files_must_exist=True,
        )


def test_it_may_begin_on_the_rows_that_the_run_made(folder: Path) -> None:
    made = ("synthesis.generator=public", "synthesis.size=40")
    result = simulate(config_of(folder, "selection.warm_start=3", *made), folder / "run")
    assert result["warm_start"]["steps"] == 3
    assert result["warm_start"]["data"]["source"] == "synthetic"
    assert result["warm_start"]["data"]["rows"] == 40
    given = config_of(folder, *made, WARM[1], "selection.warm_start=3")
    assert simulate(given, folder / "given")["warm_start"]["data"]["source"] == "public file"


def test_rows_that_are_too_few_are_told_before_anything_is_asked(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"synthesis.size = 7: must be at least 8 with selection.warm_start"
    ):
        config_of(folder, "selection.warm_start=3", "synthesis.generator=public", "synthesis.size=7")


def test_a_run_that_carries_a_residual_begins_without_one(folder: Path) -> None:
    fedex = ('adapter.kind="lora"', 'federation.aggregation="fedex"', "federation.rounds=1")
    config = config_of(folder, *WARM, *fedex)
    with Workspace(config, folder / "look") as workspace:
        start, layout = warm_start(workspace).vector, workspace.adapter.layout
    assert start.shape == (layout.state_size,)
    assert start[: layout.size].any()
    assert not start[layout.size :].any()
    result = simulate(config, folder / "run")
    assert result["rounds_completed"] == 1
    assert load(folder / "run" / CHECKPOINT_FOLDER).adapter[layout.size :].any()
