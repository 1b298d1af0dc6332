# SPDX-License-Identifier: Apache-2.0
"""DP-Forward: the frozen states of each input are noised once, and training on them needs no further noise.

Protects inputs only, each against replacement of its content: another adjacency than the rest of this
package. Responses are trained on as they are. For simulations only.
"""

from __future__ import annotations

from typing import final

from fedpeft.methods.base import Method


@final
class Preset(Method):
    """No clipping and no noise of gradients; the states are noised by the analytic Gaussian mechanism."""

    source = "Du et al. 2023, arXiv 2309.06746"
    how = "noised-inputs"
    no_guarantee = "inputs only, each against replacement; responses are not protected, and no unit is"
    has_epsilon = False
