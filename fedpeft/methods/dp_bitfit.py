# SPDX-License-Identifier: Apache-2.0
"""DP-BiTFiT: bias terms alone are trained, with automatic clipping; a module without one gets a zero one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from fedpeft.methods.base import Method, Value


@final
class Preset(Method):
    """Biases of the chosen linear modules."""

    source = "Bu et al. 2022, arXiv 2210.00036"
    sets: ClassVar[Mapping[str, Value]] = {
        "adapter.kind": "bias",
        "privacy.clipping": "automatic",
        "privacy.allocation": "uniform",
    }
