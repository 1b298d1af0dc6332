# SPDX-License-Identifier: Apache-2.0
"""Scores on the way: when they are due, where they go, and that a run writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft.curve import METRICS_FILE, Curve
from fedpeft.flower.simulation import simulate
from fedpeft.reporter import Silence
from fedpeft.stage_settings import EvaluationSettings
from fedpeft.testing import tiny_config


class Heard(Silence):
    def __init__(self) -> None:
        self.rounds: list[int] = []

    def evaluated(self, rounds_done: int, metrics: object) -> None:
        self.rounds.append(rounds_done)

    def site_step(self, *_: object) -> None: ...
    def stage(self, *_: object) -> None: ...


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [1, 2, 3]), (2, [2]), (4, [])])
def test_the_last_round_is_evaluated_anyway(tmp_path: Path, every: int, due: list[int]) -> None:
    curve = Curve(tmp_path, EvaluationSettings(every=every), 4, Silence())
    assert [number for number in range(1, 5) if curve.is_due(number)] == due


def test_nothing_is_written_of_no_records(tmp_path: Path) -> None:
    Curve(tmp_path, EvaluationSettings(), 4, Silence()).add(0, None)
    assert not (tmp_path / METRICS_FILE).exists()


@pytest.mark.parametrize("public", [True, False])
def test_a_run_leaves_its_curve_and_what_each_round_had_spent(tmp_path: Path, public: bool) -> None:
    overrides = ["evaluation.every=1", f"evaluation.public={str(public).lower()}", "sites.site1.epsilon=4"]
    heard = Heard()
    result = simulate(tiny_config(tmp_path, rounds=3, overrides=overrides), tmp_path / "run", heard)
    lines = [json.loads(line) for line in (tmp_path / "run" / METRICS_FILE).read_text().splitlines()]
    assert heard.rounds == [line["round"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["metrics"] == result["metrics"]["before"] != lines[1]["metrics"]
    assert lines[-1]["metrics"] == result["metrics"]["after"]
    assert {line["privacy"].startswith("NOT PRIVATE") for line in lines} == {not public}
    others = (tmp_path / "run" / METRICS_FILE).stat().st_mode & 0o077
    assert public or others == 0
    rounds = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    spent = [record["epsilon_spent"] for record in rounds]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(result["epsilon_spent"], rel=2e-3)
    assert rounds[-1]["epsilon_spent_less"]["site1"] == pytest.approx(
        result["epsilon_spent_by_site"]["site1"], rel=2e-3
    )
    assert result["seconds"]["evaluate"] > 0 <= result["seconds"]["accounting"]
    segments = result["noise_by_segment"]
    assert sum(segment["size"] for segment in segments) == result["trainable_parameters"]
    assert {segment["scale"] for segment in segments} == {segments[0]["scale"]}  # uniform
    assert result["run_id"]
