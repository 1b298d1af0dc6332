# SPDX-License-Identifier: Apache-2.0
"""Three steps for the row of Table 1 that came later, as for the others, at epsilon 8 on SST-2."""

from simulations.grid.bases import SST2, SST2_DEVELOPMENT, norms_of
from simulations.grid.designs import tuning

EXPERIMENT = tuning(SST2, [*SST2_DEVELOPMENT, "privacy.epsilon=8.0"], {}, norms_of("sst2"), ["dp-lora-fedex"])
