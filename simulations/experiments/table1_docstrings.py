# SPDX-License-Identifier: Apache-2.0
"""Five rows of Table 1 on docstrings at epsilon 8, by task: describe, module, name and signature.

Three installed packages train, an organization each. Nothing is tuned: clip norms and steps are MedQuAD's.
"""

from simulations.grid.bases import DOCSTRINGS, DOCSTRINGS_RUN, MEDQUAD_ROWS, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import ROWS

EXPERIMENT = table(
    "Table 1, docstrings, epsilon 8",
    DOCSTRINGS,
    [*DOCSTRINGS_RUN, "privacy.epsilon=8.0"],
    {},
    norms_of("medquad"),
    steps_of("medquad"),
    rows={name: ROWS[name] for name in MEDQUAD_ROWS},
    reference="ffa-weight",
    seeds=(1, 2),
) | {"by_task": True}
