# SPDX-License-Identifier: Apache-2.0
"""Three steps for each of the two rows of 2026-11-23, at epsilon 8, on the institute of the other trials."""

from simulations.grid.bases import MEDQUAD, MEDQUAD_DEVELOPMENT, MEDQUAD_LATER, norms_of
from simulations.grid.designs import tuning

EXPERIMENT = tuning(
    MEDQUAD, [*MEDQUAD_DEVELOPMENT, "privacy.epsilon=8.0"], {}, norms_of("medquad"), MEDQUAD_LATER
)
