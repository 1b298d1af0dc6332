# SPDX-License-Identifier: Apache-2.0
"""Where the backward pass leaves per-example gradients of trained tensors."""

from __future__ import annotations

from torch import Tensor


class GradientSink:
    """Per-example gradients of one backward pass, by trained tensor.

    A module that runs twice in one forward pass adds to what it left before: its gradient is a sum.
    """

    def __init__(self) -> None:
        self._gradients: dict[int, Tensor] = {}

    def add(self, key: int, gradient: Tensor) -> None:
        """Add ``(n, *shape)`` gradients of the ``n`` examples to those of the tensor ``key``."""
        known = self._gradients.get(key)
        self._gradients[key] = gradient if known is None else known + gradient

    def take(self, key: int) -> Tensor | None:
        """Hand over the gradients of ``key`` and forget them; ``None`` if none arrived."""
        return self._gradients.pop(key, None)
