# SPDX-License-Identifier: Apache-2.0
"""One page for each run, made of what the run's folder says in public.

``write_report(folder)`` leaves ``report.html`` in it; ``make_page`` gives the HTML of one run or of several
side by side.
"""

from fedpeft.report.page import REPORT_FILE, make_page, write_page
from fedpeft.report.run_folder import RunFolder, read_run
from fedpeft.report.statement import covered_only
from fedpeft.report.write import write_report

__all__ = ["REPORT_FILE", "RunFolder", "covered_only", "make_page", "read_run", "write_page", "write_report"]
