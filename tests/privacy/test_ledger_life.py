# SPDX-License-Identifier: Apache-2.0
"""The whole life of a policy is the sum of what its runs took."""

import pytest

from fedpeft.errors import LedgerError
from fedpeft.privacy.ledger import life, verify


def test_runs_add_up_and_one_can_be_told_from_the_others(tools, path):
    ledger = tools.open(path)
    first = ledger.commit(tools.schedule(run_id="first", noise_multiplier=20.0))
    second = ledger.commit(tools.schedule(run_id="second", noise_multiplier=30.0))
    found = life(path)
    assert (found.identity, found.epsilon, found.delta) == ("st-mary", 8.0, 1e-5)
    assert [c.run_id for c in found.commitments] == ["first", "second"]
    assert found.committed.epsilon == pytest.approx(first.epsilon + second.epsilon)
    assert found.committed.delta == pytest.approx(first.delta + second.delta)
    assert found.committed.epsilon == verify(path).epsilon_committed
    assert found.apart_from("second") == first
    assert found.apart_from("first") == second


def test_no_ledger_is_told_by_name(tmp_path):
    with pytest.raises(LedgerError, match=r"absent\.sqlite"):
        life(tmp_path / "absent.sqlite")
