# SPDX-License-Identifier: Apache-2.0
"""Laps of a stage add up, and the total covers them."""

from time import monotonic

from fedpeft.stopwatch import Stopwatch


def test_laps_add_up() -> None:
    watch = Stopwatch()
    begun = monotonic()
    later = watch.lap("load", begun - 2.0)
    watch.lap("load", later - 3.0)
    seconds = watch.to_json()
    assert seconds["load"] >= 5.0
    assert set(seconds) == {"total", "load"}
    assert begun <= later <= monotonic()
