# SPDX-License-Identifier: Apache-2.0
"""Two rows of 2026-11-23 on MedQuAD at epsilon 8, beside the two that they come after.

What `fedpeft` could do better was found on development records (`improvement_medquad`), and is tested here.
"""

from simulations.grid.bases import MEDQUAD, MEDQUAD_BESIDE, MEDQUAD_RUN, norms_of, steps_of
from simulations.grid.designs import table
from simulations.grid.rows import STREAM_UNIFORM, system_of

_STEPS = steps_of("medquad_later")

EXPERIMENT = table(
    "Table 1, MedQuAD, epsilon 8: rows of 2026-11-23",
    MEDQUAD,
    [*MEDQUAD_RUN, "privacy.epsilon=8.0"],
    {},
    norms_of("medquad"),
    {**_STEPS, "stream-uniform": _STEPS["fedpeft-stream"]},
    rows={name: system_of(name) for name in MEDQUAD_BESIDE} | {"stream-uniform": STREAM_UNIFORM},
    reference="dp-bitfit-finer",
)
