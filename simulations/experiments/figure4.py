# SPDX-License-Identifier: Apache-2.0
"""Figure 4: clip, epsilon, number of sites and heterogeneity (Dirichlet), one changed at a time.

The learning rate is that of the center throughout, as it is where nobody may tune on private records.
"""

from simulations.grid.bases import FIGURE_TEST, SST2, SST2_FILLINGS, norms_of, steps_of
from simulations.grid.designs import axes, overrides_of
from simulations.grid.rows import ROWS

_DIRICHLET = 'data.partition.kind="dirichlet"'
_CLIP = norms_of("sst2_top")["ffa-weight"]
_OURS = overrides_of(ROWS["fedpeft"], SST2_FILLINGS, norms_of("sst2_top"), steps_of("sst2")["fedpeft"])

EXPERIMENT = axes(
    SST2,
    [*FIGURE_TEST, *_OURS],
    {
        "center": [],  # clip at the median norm, epsilon 8, four sites, evenly split
        "clip-0.3x": [f"privacy.clip_norm={0.3 * _CLIP:.4g}"],
        "clip-3x": [f"privacy.clip_norm={3 * _CLIP:.4g}"],
        "epsilon-2": ["privacy.epsilon=2.0"],
        "epsilon-4": ["privacy.epsilon=4.0"],
        "sites-2": ["data.partition.parts=2"],
        "sites-8": ["data.partition.parts=8"],
        "dirichlet-0.1": [_DIRICHLET, "data.partition.alpha=0.1"],
        "dirichlet-0.5": [_DIRICHLET, "data.partition.alpha=0.5"],
    },
)
