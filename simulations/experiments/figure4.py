# SPDX-License-Identifier: Apache-2.0
"""Figure 4: clip, epsilon, number of sites and heterogeneity (Dirichlet), one changed at a time."""

from simulations.grid.bases import SST2, SST2_TEST
from simulations.grid.designs import axes

_DIRICHLET = 'data.partition.kind="dirichlet"'

EXPERIMENT = axes(
    SST2,
    [*SST2_TEST, 'method="fedpeft"', 'privacy.clipping="flat"'],
    {
        "center": [],  # clip 1, epsilon 8, four sites, evenly split
        "clip-0.3": ["privacy.clip_norm=0.3"],
        "clip-3": ["privacy.clip_norm=3.0"],
        "epsilon-2": ["privacy.epsilon=2.0"],
        "epsilon-4": ["privacy.epsilon=4.0"],
        "sites-2": ["data.partition.parts=2"],
        "sites-8": ["data.partition.parts=8"],
        "dirichlet-0.1": [_DIRICHLET, "data.partition.alpha=0.1"],
        "dirichlet-0.5": [_DIRICHLET, "data.partition.alpha=0.5"],
    },
)
