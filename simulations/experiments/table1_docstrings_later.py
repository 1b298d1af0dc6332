# SPDX-License-Identifier: Apache-2.0
"""Two rows of 2026-11-23 on docstrings at epsilon 8, by task, beside the two that they come after.

As for the others nothing is tuned here: clip norms and steps are MedQuAD's.
"""

from simulations.grid.bases import DOCSTRINGS, DOCSTRINGS_RUN, MEDQUAD_BESIDE, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import system_of

EXPERIMENT = table(
    "Table 1, docstrings, epsilon 8: rows of 2026-11-23",
    DOCSTRINGS,
    [*DOCSTRINGS_RUN, "privacy.epsilon=8.0"],
    {},
    norms_of("medquad"),
    steps_of("medquad_later"),
    rows={name: system_of(name) for name in MEDQUAD_BESIDE},
    reference="dp-bitfit-finer",
    seeds=(1, 2),
) | {"by_task": True}
