# SPDX-License-Identifier: Apache-2.0
"""Figure 4: clip, epsilon, number of sites and heterogeneity, one changed at a time.

::

python -m simulations.figure4 run
python -m simulations.figure4 table

Needs FEDPEFT_DATA_ROOT, and the extra ``figures``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from simulations.grid.__main__ import Places
from simulations.grid.study import Study, plainly, run_study

STUDY = Study("figure4", ("figure4",), plainly)


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """See the module's text."""
    return run_study(STUDY, str(__doc__), arguments, places)


if __name__ == "__main__":
    sys.exit(main())
