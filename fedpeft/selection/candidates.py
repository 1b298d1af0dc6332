# SPDX-License-Identifier: Apache-2.0
"""Which sets of blocks are tried: single ones, contiguous ones, the highest scores, random ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

ALL: Final = "all"
LAST: Final = "last"
RANDOM_CONTROL: Final = "random control"
_MOST_DRAWS: Final = 64  # in search of a set that is not there yet


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of blocks.

    Attributes:
        kind: what it was made as; of two ways to the same set, the first.
        layers: the blocks, ascending.
    """

    kind: str
    layers: tuple[int, ...]

    @property
    def lowest(self) -> int:
        """Everything below need not be run again: a higher one is cheaper to train."""
        return self.layers[0]


def sizes_of(num_blocks: int, size: int | None) -> tuple[int, ...]:
    """The sizes k that are tried: the one that is given, else an eighth, a quarter and half of the blocks."""
    if size is not None:
        return (size,)
    return tuple(sorted({max(1, num_blocks // share) for share in (8, 4, 2)}))


def make_candidates(
    blocks: Sequence[int], scores: Sequence[float], count: int, seed: int, size: int | None = None
) -> tuple[Candidate, ...]:
    """At most ``count`` different sets, ``all`` and the last k first.

    Args:
        blocks: to choose from, ascending.
        scores: of each of them; the highest make sets.
        count: of candidates; where sets are more, each kind gives of its own in turn.
        seed: public, of the random sets.
        size: number of blocks of every set but ``all``; default: several.
    """
    sizes = sizes_of(len(blocks), size)
    best = sorted(range(len(blocks)), key=lambda place: (-scores[place], -place))
    best_first = [blocks[place] for place in best]
    kinds = [
        _contiguous(blocks, sizes),
        (("top", tuple(sorted(best_first[:k]))) for k in reversed(sizes)),
        (("single", (block,)) for block in best_first) if size is None else iter(()),
        _random(blocks, sizes, np.random.default_rng([seed, 2])),
    ]
    first = [(ALL, tuple(blocks))]
    first += [(LAST, last_layers(blocks, k)) for k in sizes]
    found: dict[tuple[int, ...], Candidate] = {}
    for kind, layers in itertools.chain(first, _in_turn(kinds)):
        if len(found) == count:
            break
        found.setdefault(layers, Candidate(kind, layers))
    return tuple(found.values())


def random_layers(blocks: Sequence[int], size: int, random: np.random.Generator) -> tuple[int, ...]:
    """``size`` different ones of ``blocks``."""
    return tuple(sorted(random.choice(blocks, size, replace=False).tolist()))


def last_layers(blocks: Sequence[int], size: int) -> tuple[int, ...]:
    """The top ``size`` of ``blocks``."""
    return tuple(blocks[-size:])


def random_control(
    blocks: Sequence[int], size: int, seed: int, taken: Iterable[tuple[int, ...]]
) -> Candidate | None:
    """A random set of ``size`` blocks that is none of ``taken``; ``None`` where there is hardly another."""
    random, known = np.random.default_rng([seed, 3]), set(taken)
    draws = (random_layers(blocks, size, random) for _ in range(_MOST_DRAWS))
    return next((Candidate(RANDOM_CONTROL, layers) for layers in draws if layers not in known), None)


Made = tuple[str, tuple[int, ...]]


def _in_turn(kinds: Sequence[Iterator[Made]]) -> Iterator[Made]:
    for row in itertools.zip_longest(*kinds):
        yield from (made for made in row if made is not None)


def _contiguous(blocks: Sequence[int], sizes: Sequence[int]) -> Iterator[Made]:
    """Overlapping by half, from the top, which is cheapest."""
    for k in sizes:
        for start in range(len(blocks) - k, -1, -max(1, k // 2)):
            yield "contiguous", tuple(blocks[start : start + k])


def _random(blocks: Sequence[int], sizes: Sequence[int], random: np.random.Generator) -> Iterator[Made]:
    seen: set[tuple[int, ...]] = set()
    for draw in range(_MOST_DRAWS * len(sizes)):
        layers = random_layers(blocks, sizes[draw % len(sizes)], random)
        if layers not in seen:
            seen.add(layers)
            yield "random", layers
