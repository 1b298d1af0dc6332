# SPDX-License-Identifier: Apache-2.0
"""The three ways to average both factors, on SST-2 at epsilon 8; `dp-lora-fedex` came on 2026-11-23."""

from simulations.grid.bases import SST2, SST2_TEST, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import system_of

_ROWS = ("dp-lora", "dp-lora-product-svd", "dp-lora-fedex")

EXPERIMENT = table(
    "Table 1, SST-2, epsilon 8: a row of 2026-11-23",
    SST2,
    [*SST2_TEST, "privacy.epsilon=8.0"],
    {},
    norms_of("sst2"),
    steps_of("sst2_later"),
    rows={name: system_of(name) for name in _ROWS},
    reference="dp-lora",
)
