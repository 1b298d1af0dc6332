# SPDX-License-Identifier: Apache-2.0
"""The seed's method in its correct form: noise shared among segments of a projected subspace.

The share of a segment follows what earlier rounds released, weighing noise energy against the divergence that
noise causes (lambda2); the server decays the vector (lambda1), which for an isometric adapter is the papers'
penalty on the projected update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from fedpeft.methods.base import Method, Value


@final
class Preset(Method):
    """Projected subspace, allocation over segments, lambda1 and lambda2."""

    source = "arXiv 2512.06711, corrected"
    sets: ClassVar[Mapping[str, Value]] = {
        "adapter.kind": "ffa",
        "privacy.allocation": "kl",
        "privacy.lambda2": 1.0,
        "federation.lambda1": 1e-3,
    }
