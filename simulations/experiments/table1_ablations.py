# SPDX-License-Identifier: Apache-2.0
"""The full method with one part taken away at a time, on SST-2 at epsilon 8, at the full method's step."""

from simulations.grid.bases import SST2, SST2_FILLINGS, SST2_TEST, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import ABLATIONS

EXPERIMENT = table(
    "Table 1, ablations, SST-2, epsilon 8",
    SST2,
    [*SST2_TEST, "privacy.epsilon=8.0"],
    SST2_FILLINGS,
    norms_of("sst2"),
    dict.fromkeys(ABLATIONS, steps_of("sst2")["fedpeft-selft"]),
    rows=ABLATIONS,
    reference="full",
)
