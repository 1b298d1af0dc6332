# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a large page runs; what it measures is asserted nowhere. No other browser may be open."""

from __future__ import annotations

import pytest

from simulations.benchmarks import report_page
from simulations.benchmarks.shared.browser import find_chromium

pytest.importorskip("playwright", reason="the page is opened with playwright, of the extra dev")


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_it_runs_on_tiny_settings_and_fills_its_rows() -> None:
    result = report_page.run(quick=True)
    assert 0 < result["megabytes"] < 1
    assert len(report_page.rows(result)) == 2
