# SPDX-License-Identifier: Apache-2.0
"""Figure 3: step and batch size, at a fixed noise multiplier and at a fixed epsilon.

::

python -m simulations.figure3 run
python -m simulations.figure3 table

Needs FEDPEFT_DATA_ROOT, and the extra ``figures``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from simulations.grid.__main__ import Places
from simulations.grid.study import Study, as_grid, run_study

STUDY = Study("figure3", ("figure3_epsilon", "figure3_noise"), as_grid("step", "batch"))


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """See the module's text."""
    return run_study(STUDY, str(__doc__), arguments, places)


if __name__ == "__main__":
    sys.exit(main())
