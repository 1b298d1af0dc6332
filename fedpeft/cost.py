# SPDX-License-Identifier: Apache-2.0
"""How much arithmetic a run's training takes, told from the shapes of its backbone alone.

A weight costs 2 operations a token in a forward pass and 2 more for the gradient of its input. Below the
lowest trained block only the forward pass is needed, and with cached hidden states only once a record; from
there up both are, and a frozen weight has no gradient of its own. The head sees response tokens alone.
Per-example gradients of low-rank factors are far below a percent and left out, as are noise and messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import nn

from fedpeft.adapters.targets import find_blocks
from fedpeft.errors import ConfigError

_BYTES_PER_STATE: Final = 4


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a mean record, declared or assumed: data are private and never read for a plan.

    Attributes:
        record: prompt and response.
        response: of these, how many the loss counts.
    """

    record: int
    response: int

    def __post_init__(self) -> None:
        """Refuse lengths that no record has.

        Raises:
            ConfigError: as said.
        """
        if self.record < 2:
            raise ConfigError(f"--mean-length = {self.record}: must be at least 2 tokens; raise it")
        if not 1 <= self.response < self.record:
            raise ConfigError(
                f"--mean-response = {self.response}: must be from 1 to {self.record - 1}, below the mean "
                f"length of {self.record} tokens; lower it, or raise --mean-length"
            )


@dataclass(frozen=True, slots=True)
class Shapes:
    """What of a backbone decides its arithmetic.

    Attributes:
        blocks: weights of each transformer block, from the lowest.
        head: weights of the output head.
        hidden: width, for the products of attention.
    """

    blocks: tuple[int, ...]
    head: int
    hidden: int

    def below(self, lowest: int, lengths: Lengths) -> float:
        """Operations a record below block ``lowest``: one forward pass."""
        attention = 4 * lengths.record * self.hidden * lowest
        return float(lengths.record * (2 * sum(self.blocks[:lowest]) + attention))

    def above(self, lowest: int, lengths: Lengths) -> float:
        """Operations a record from block ``lowest`` up, the head included: forward and backward."""
        attention = 12 * lengths.record * self.hidden * (len(self.blocks) - lowest)
        weights = 4 * sum(self.blocks[lowest:])
        return float(lengths.record * (weights + attention) + lengths.response * 4 * self.head)

    def work(
        self,
        records: Sequence[float],
        rate: float,
        steps: int,
        lowest: int,
        lengths: Lengths,
        *,
        cache_bytes: float,
    ) -> float:
        """Operations of all steps of all sites, as expected under Poisson sampling.

        Args:
            records: of each site.
            rate: at which each record enters a step.
            steps: of each site.
            lowest: trained block.
            lengths: of a mean record.
            cache_bytes: for hidden states that enter the lowest trained block, over all sites; a record whose
                states are kept passes the blocks below once, and not at each visit.
        """
        visits = rate * steps * sum(records)
        first_visits = (1 - (1 - rate) ** steps) * sum(records)
        needed = first_visits * lengths.record * self.hidden * _BYTES_PER_STATE
        spared = (visits - first_visits) * min(1.0, cache_bytes / needed)
        return visits * self.above(lowest, lengths) + (visits - spared) * self.below(lowest, lengths)


def shapes_of(model: nn.Module) -> Shapes:
    """Read off a backbone, which may be on the meta device. All experts of a mixture count.

    Raises:
        BackboneError: it has no list of blocks.
    """
    path, blocks = find_blocks(model)
    weights = tuple(sum(p.numel() for p in block.parameters() if p.dim() > 1) for block in blocks)
    outside = [p for name, p in model.named_parameters() if not name.startswith(f"{path}.") and p.dim() > 1]
    head = max(outside, key=lambda p: p.numel())  # the vocabulary is the longest table there is
    return Shapes(weights, head.numel(), int(head.shape[-1]))
