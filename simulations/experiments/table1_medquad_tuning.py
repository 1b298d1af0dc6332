# SPDX-License-Identifier: Apache-2.0
"""Three steps for five rows of Table 1, at epsilon 8, on an institute that no row is reported on."""

from simulations.grid.bases import MEDQUAD, MEDQUAD_DEVELOPMENT, MEDQUAD_ROWS, norms_of
from simulations.grid.designs import tuning

EXPERIMENT = tuning(
    MEDQUAD, [*MEDQUAD_DEVELOPMENT, "privacy.epsilon=8.0"], {}, norms_of("medquad"), MEDQUAD_ROWS
)
