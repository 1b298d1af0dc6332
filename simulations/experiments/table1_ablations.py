# SPDX-License-Identifier: Apache-2.0
"""The full method with one part taken away at a time, on SST-2 at epsilon 8, at the full method's rate."""

from simulations.grid.bases import SST2, SST2_FILLINGS, SST2_TEST, fixed_rates
from simulations.grid.designs import ABLATIONS, table

_RATE = fixed_rates().get("fedpeft-selft", 1.5)

EXPERIMENT = table(
    "Table 1, ablations, SST-2, epsilon 8",
    SST2,
    [*SST2_TEST, "privacy.epsilon=8.0"],
    SST2_FILLINGS,
    dict.fromkeys(ABLATIONS, _RATE),
    rows=ABLATIONS,
    reference="full",
)
