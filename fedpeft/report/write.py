# SPDX-License-Identifier: Apache-2.0
"""``report.html`` in the folder of a run that has ended."""

from __future__ import annotations

import logging
from pathlib import Path

from fedpeft.errors import FedpeftError
from fedpeft.report.page import REPORT_FILE, write_page
from fedpeft.report.run_folder import read_run

_log = logging.getLogger(__name__)


def write_report(folder: Path) -> Path | None:
    """Write the page of the run in ``folder`` into it.

    A run is done when its result is there: a page that cannot be written is a warning, and ``None``.
    """
    path = folder / REPORT_FILE
    try:
        write_page([read_run(folder)], path)
    except FedpeftError as error:
        _log.warning("%s: was not written (%s); `fedpeft report %s` tries again", path, error, folder)
        return None
    return path
