# SPDX-License-Identifier: Apache-2.0
"""AnaDP: less noise for important segments, where importance comes from earlier releases only.

As published, importance is that of the raw gradient and noise is scaled under one global clip, so that only
the smallest scale counts; here shares of one budget are what is scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from fedpeft.methods.base import Method, Value


@final
class Preset(Method):
    """LoRA with noise allocated by smoothed importance."""

    source = "Li et al. 2024, arXiv 2410.02912, corrected"
    sets: ClassVar[Mapping[str, Value]] = {"adapter.kind": "lora", "privacy.allocation": "anadp"}
