# SPDX-License-Identifier: Apache-2.0
"""DP-SelFT: the blocks to train are chosen on public or synthetic rows under the noise of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from fedpeft.methods.base import Method, Value


@final
class Preset(Method):
    """Chooses blocks by trial; noise is the same everywhere."""

    source = "Sha et al. 2026, arXiv 2605.17432"
    sets: ClassVar[Mapping[str, Value]] = {
        "adapter.kind": "ffa",
        "privacy.allocation": "uniform",
        "selection.selector": "selft",
    }
