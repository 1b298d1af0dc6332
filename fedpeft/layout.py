# SPDX-License-Identifier: Apache-2.0
"""Where everything lies in the flat vector of an adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = TypeVar("Array", bound=Any)


@dataclass(frozen=True, slots=True)
class Segment:
    """One contiguous piece of the flat adapter vector: what is trained in one module of one block.

    Attributes:
        name: full path of the module in the backbone, unique.
        block: index of the transformer block it stands in; -1 outside the blocks.
        module: the path inside the block, the same for all blocks (``self_attn.q_proj``).
        shape: shape of the trained tensor; its row-major flattening fills the segment.
        start: offset of the first element in the flat vector.
    """

    name: str
    block: int
    module: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def stop(self) -> int:
        """Offset one past the last element."""
        return self.start + self.size

    @property
    def slice(self) -> slice:
        """Where the segment lies in the flat vector."""
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Layout:
    """The segments of an adapter, in order and without gaps.

    Attributes:
        segments: what is trained.
        carried: what follows it in the vector that rounds begin with, and sites hold fixed: for each module
            two factors of what is added to its weight. None but for an aggregation rule that needs them.
    """

    segments: tuple[Segment, ...]
    carried: tuple[Segment, ...] = ()

    @property
    def size(self) -> int:
        """``d``, the number of trainable parameters: the length of everything that is clipped and noised."""
        return self.segments[-1].stop if self.segments else 0

    @property
    def state_size(self) -> int:
        """``D``, the length of the vector that rounds begin with."""
        return self.carried[-1].stop if self.carried else self.size

    @property
    def blocks(self) -> tuple[int, ...]:
        """The transformer blocks that have a part of the adapter, ascending."""
        return tuple(sorted({segment.block for segment in self.segments}))

    @property
    def digest(self) -> str:
        """A hash of names, shapes and places."""
        text = "\n".join(f"{s.name} {s.shape} {s.start}" for s in (*self.segments, *self.carried))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Part:
    """What a site trains of an adapter: the leading directions of each module, where its rank is smaller.

    A site of rank q has the first q columns of B and rows of A. It starts from the whole adapter like all
    others, so nothing is cut off at its side; what it does not train it does not release.

    Attributes:
        whole: of the run's adapter.
        layout: of the part, with as many segments.
        rank: 0 where the part is everything.
    """

    whole: Layout
    layout: Layout
    rank: int = 0

    @classmethod
    def everything(cls, whole: Layout) -> Part:
        """The part of a site that trains all of ``whole``."""
        return cls(whole, whole)

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        return self.layout.size

    def cut(self, tensors: Sequence[Array]) -> list[Array]:
        """Of ``(n, *shape)`` of each segment of the whole, what is the part's.

        Args:
            tensors: torch's or numpy's, one for each segment.
        """
        if not self.rank:
            return list(tensors)
        corners = [(slice(None), *map(slice, segment.shape)) for segment in self.layout.segments]
        return [tensor[corner] for tensor, corner in zip(tensors, corners, strict=True)]

    def take(self, vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``(size,)`` of a vector of the whole, ``(d,)`` or longer."""
        return vector[self._places] if self.rank else vector[: self.size]

    def lift(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``(d,)`` with ``values`` of the part in their places, and zeros elsewhere."""
        if not self.rank:
            return values
        lifted = np.zeros(self.whole.size, dtype=values.dtype)
        lifted[self._places] = values
        return lifted

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """``(size,)`` where each number of the part lies in the whole."""
        places = []
        for segment, part in zip(self.whole.segments, self.layout.segments, strict=True):
            numbers = np.arange(segment.start, segment.stop).reshape(segment.shape)
            places.append(numbers[tuple(map(slice, part.shape))].ravel())
        return np.concatenate(places)
