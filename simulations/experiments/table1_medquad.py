# SPDX-License-Identifier: Apache-2.0
"""Five rows of Table 1 on MedQuAD at epsilon 8: ranking and token accuracy, perplexity.

Three institutes train, the steps are chosen on another's public records, and a fifth's are scored.
"""

from simulations.grid.bases import MEDQUAD, MEDQUAD_ROWS, MEDQUAD_RUN, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import ROWS

EXPERIMENT = table(
    "Table 1, MedQuAD, epsilon 8",
    MEDQUAD,
    [*MEDQUAD_RUN, "privacy.epsilon=8.0"],
    {},
    norms_of("medquad"),
    steps_of("medquad"),
    rows={name: ROWS[name] for name in MEDQUAD_ROWS},
    reference="ffa-weight",
)
