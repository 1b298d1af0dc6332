# SPDX-License-Identifier: Apache-2.0
"""A second run on one ledger gets exactly as much noise as what is left asks for."""

import pytest

from fedpeft.errors import Refusal
from fedpeft.privacy.fitting import fitted
from fedpeft.types import RefusalCode, Schedule

PARTS = ((1.2, 5), (1.8, 5))


def test_what_fits_stays_as_it_is(path, tools):
    left = tools.open(path).available()
    schedule = tools.schedule()
    assert fitted(schedule, left.epsilon, left.delta) is schedule


@pytest.mark.parametrize("parts", [((1.5, 10),), PARTS])
def test_a_second_run_takes_all_that_is_left_and_no_more(path, tools, parts):
    ledger = tools.open(path)
    ledger.commit(tools.schedule(run_id="first", parts=((3.0, 10),)))
    left = ledger.available()
    planned = tools.schedule(run_id="second", parts=parts)
    with pytest.raises(Refusal) as caught:
        ledger.commit(planned)
    assert caught.value.code is RefusalCode.BUDGET
    made = fitted(planned, left.epsilon, left.delta)
    assert made.steps == planned.steps
    assert made.parts[-1][0] / made.parts[0][0] == pytest.approx(parts[-1][0] / parts[0][0], abs=1e-3)
    taken = ledger.commit(made)
    assert taken.epsilon == pytest.approx(left.epsilon, rel=1e-3)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (1.0, 0.0), (0.0, 0.0), (1e-12, 1e-30)])
def test_where_nothing_is_left_the_site_is_left_to_refuse(epsilon, delta):
    schedule = Schedule("run", PARTS, 0.5, "record")
    assert fitted(schedule, epsilon, delta) == schedule
