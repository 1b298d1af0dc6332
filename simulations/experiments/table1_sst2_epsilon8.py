# SPDX-License-Identifier: Apache-2.0
"""Table 1 on SST-2 at epsilon 8: label accuracy on the test file, three seeds, every row."""

from simulations.grid.bases import SST2, SST2_FILLINGS, SST2_TEST, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import ROWS

EXPERIMENT = table(
    "Table 1, SST-2, epsilon 8",
    SST2,
    [*SST2_TEST, "privacy.epsilon=8.0"],
    SST2_FILLINGS,
    norms_of("sst2"),
    steps_of("sst2"),
    rows=ROWS,
    reference="ffa-weight",
)
