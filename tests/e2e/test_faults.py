# SPDX-License-Identifier: Apache-2.0
"""A few rows of the fault matrix, with real processes; ``python -m simulations.faults`` has them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulations.faults.__main__ import SCENARIOS
from simulations.faults.trial import Trial

ROWS = ("site dies in training, the round needs it", "two sites on one ledger", "unregistered key")


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with Trial() as made:
        yield made


@pytest.mark.parametrize("name", ROWS)
def test_a_fault_has_the_outcome_that_it_must(trial: Trial, name: str) -> None:
    with trial.fresh() as findings:
        SCENARIOS[name](trial, findings)
    assert findings.problems == [], findings.facts
