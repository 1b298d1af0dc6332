# SPDX-License-Identifier: Apache-2.0
"""Figure 2: wrong labels and biased feedback in SST-2's training records, three rates each, two seeds."""

from simulations.grid.bases import FIGURE_TEST, SST2, SST2_FILLINGS, norms_of, steps_of
from simulations.grid.designs import overrides_of, robustness
from simulations.grid.rows import ROWS

_OURS = overrides_of(ROWS["fedpeft"], SST2_FILLINGS, norms_of("sst2_top"), steps_of("sst2")["fedpeft"])

EXPERIMENT = robustness(SST2, [*FIGURE_TEST, *_OURS])
