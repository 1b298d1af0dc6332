# SPDX-License-Identifier: Apache-2.0
"""Figure 3, at a fixed noise multiplier: epsilon follows from the batch, and never from the learning rate."""

from simulations.grid.bases import DELTA, FIGURE_TEST, SST2, SST2_STEPS, norms_of
from simulations.grid.designs import batches
from simulations.grid.rows import ADAPTERS

EXPERIMENT = batches(
    SST2,
    [*FIGURE_TEST, *ADAPTERS["ffa-weight"]],
    multiplier=0.8,
    steps=SST2_STEPS,
    delta=DELTA,
    clip_norm=norms_of("sst2_top")["ffa-weight"],
)
