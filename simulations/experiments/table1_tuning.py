# SPDX-License-Identifier: Apache-2.0
"""Three steps for every row of Table 1, at epsilon 8, on SST-2's development file, one seed."""

from simulations.grid.bases import SST2, SST2_DEVELOPMENT, SST2_FILLINGS, norms_of
from simulations.grid.designs import tuning
from simulations.grid.rows import ROWS

EXPERIMENT = tuning(
    SST2, [*SST2_DEVELOPMENT, "privacy.epsilon=8.0"], SST2_FILLINGS, norms_of("sst2"), list(ROWS)
)
