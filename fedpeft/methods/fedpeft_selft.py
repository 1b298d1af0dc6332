# SPDX-License-Identifier: Apache-2.0
"""Both together: blocks chosen by DP-SelFT, noise shared among their segments as `fedpeft` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from fedpeft.methods import dp_selft, fedpeft
from fedpeft.methods.base import Method, Value


@final
class Preset(Method):
    """What `dp-selft` sets, and over it what `fedpeft` sets."""

    source = "fedpeft"
    sets: ClassVar[Mapping[str, Value]] = {**dp_selft.Preset.sets, **fedpeft.Preset.sets}
