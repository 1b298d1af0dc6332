# SPDX-License-Identifier: Apache-2.0
"""Table 1 on SST-2 at epsilon 2: label accuracy on the test file, three seeds, every row that has an epsilon.

The references without noise are those of epsilon 8.
"""

from simulations.grid.bases import SST2, SST2_FILLINGS, SST2_TEST, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import NOISELESS, ROWS

EXPERIMENT = table(
    "Table 1, SST-2, epsilon 2",
    SST2,
    [*SST2_TEST, "privacy.epsilon=2.0"],
    SST2_FILLINGS,
    norms_of("sst2"),
    steps_of("sst2"),
    rows={name: row for name, row in ROWS.items() if name not in NOISELESS},
    reference="ffa-weight",
)
