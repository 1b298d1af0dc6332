# SPDX-License-Identifier: Apache-2.0
"""Figure 2: wrong labels and biased feedback in SST-2's training records, three rates each, two seeds."""

from simulations.grid.bases import SST2, SST2_FILLINGS, SST2_TEST, norms_of, steps_of
from simulations.grid.designs import ROWS, overrides_of, robustness

_OURS = overrides_of(ROWS["fedpeft"], SST2_FILLINGS, norms_of("sst2"), steps_of("sst2")["fedpeft"])

EXPERIMENT = robustness(SST2, [*SST2_TEST, *_OURS])
