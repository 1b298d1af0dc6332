# SPDX-License-Identifier: Apache-2.0
"""DP-LoRA: both factors trained, one flat clip over the two of them, the same noise everywhere, averaging.

As published, a batch gradient is clipped, and A and B each to C at one noise level, which costs sqrt(2) C of
sensitivity; here a unit is clipped over both factors together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from fedpeft.methods.base import Method, Value


@final
class Preset(Method):
    """Uniform noise on A and B, federated averaging of the two."""

    source = "Liu et al. 2023, arXiv 2312.17493, corrected"
    sets: ClassVar[Mapping[str, Value]] = {
        "adapter.kind": "lora",
        "privacy.clipping": "flat",
        "privacy.allocation": "uniform",
        "federation.aggregation": "mean",
    }
