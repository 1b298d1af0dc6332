# SPDX-License-Identifier: Apache-2.0
"""Figure 2: wrong labels and biased feedback in SST-2's training records, three rates each, two seeds."""

from simulations.grid.bases import SST2, SST2_TEST
from simulations.grid.designs import robustness

EXPERIMENT = robustness(SST2, [*SST2_TEST, 'method="fedpeft"'])
