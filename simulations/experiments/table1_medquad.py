# SPDX-License-Identifier: Apache-2.0
"""Five rows of Table 1 on MedQuAD at epsilon 8: ranking and token accuracy, perplexity.

Learning rates are those chosen on SST-2; nothing is chosen on the held-out records that are scored here.
"""

from simulations.grid.bases import MEDQUAD, MEDQUAD_ROWS, MEDQUAD_RUN, fixed_rates
from simulations.grid.designs import ROWS, table

EXPERIMENT = table(
    "Table 1, MedQuAD, epsilon 8",
    MEDQUAD,
    [*MEDQUAD_RUN, "privacy.epsilon=8.0"],
    {},
    fixed_rates(),
    rows={name: ROWS[name] for name in MEDQUAD_ROWS},
    reference="ffa",
)
