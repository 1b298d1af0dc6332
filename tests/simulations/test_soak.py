# SPDX-License-Identifier: Apache-2.0
"""Growth is what the second half of the newest life shows; a process that grows is not called flat."""

from __future__ import annotations

from simulations.soak import _growth


def _samples(slope: float, life: float = 1.0) -> list[dict]:
    return [
        {"round": n, "life": life, "pss_mb": {"site": 100 + slope * n, "node": 50.0}}
        for n in range(0, 100, 5)
    ]


def test_a_straight_line_is_found() -> None:
    growth, last = _growth(_samples(0.5), 300)
    assert growth == {"site": 150.0, "node": 0.0}
    assert last["site"] == 100 + 0.5 * 95


def test_what_fills_up_at_first_is_no_growth() -> None:
    samples = _samples(0.0)
    for sample in samples[: len(samples) // 2]:
        sample["pss_mb"]["site"] = 100 - 50 / (1 + sample["round"])
    assert abs(_growth(samples, 300)[0]["site"]) < 1e-6


def test_lives_before_a_resume_do_not_count() -> None:
    growth, _ = _growth([*_samples(5.0, life=1.0), *_samples(0.0, life=2.0)], 300)
    assert abs(growth["site"]) < 1e-6


def test_a_few_samples_show_nothing() -> None:
    assert _growth(_samples(0.0)[:6], 300)[0] == {}
