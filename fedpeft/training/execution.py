# SPDX-License-Identifier: Apache-2.0
"""How gradients are computed: speed, memory, and the loss of a token."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fedpeft.adapters.targets import find_blocks
from fedpeft.training.last_block import last_block_at
from fedpeft.training.prefix import PrefixCache


@dataclass(frozen=True, slots=True)
class Execution:
    """All but the loss moves no gradient by more than rounding; ``autocast`` rounds as coarsely as its type.

    Attributes:
        autocast: type of the products; losses, norms, sums and noise are float32 or better all the same.
        checkpointing: keep only what enters each trained block and compute the block again in the backward
            pass: a third more arithmetic for a fraction of the memory.
        prefix: states of the frozen blocks below the lowest trained one.
        loss_q: of the generalized cross-entropy; 0 is the ordinary one.
        vocabulary: tokens that the softmax of the loss runs over; empty: all.
        whole: compute the last block at every position, read or not.
    """

    autocast: torch.dtype | None = None
    checkpointing: bool = False
    prefix: PrefixCache | None = None
    loss_q: float = 0.0
    vocabulary: tuple[int, ...] = ()
    whole: bool = False

    def over_all_tokens(self) -> Execution:
        """The same for texts, of which the tokens of a few labels would say nothing."""
        return replace(self, vocabulary=())

    def autocasting(self, device: torch.device) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)

    @contextmanager
    def saving_memory(self, model: nn.Module) -> Iterator[None]:
        """Within the context, blocks forget what they computed and do it again in the backward pass."""
        if not self.checkpointing:
            yield
            return
        blocks = list(find_blocks(model)[1])
        try:
            for block in blocks:
                block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
            yield
        finally:
            for block in blocks:
                del block.forward

    def reading(self, model: nn.Module, rows: Tensor, shape: torch.Size) -> AbstractContextManager[None]:
        """A context in which the last block is computed at ``rows`` alone; see :func:`last_block_at`."""
        # What is computed again in the backward pass, when this context is over, would be the whole block.
        return nullcontext() if self.checkpointing or self.whole else last_block_at(model, rows, shape)


PLAIN: Final = Execution()
