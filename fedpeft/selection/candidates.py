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
    num_blocks: int, scores: Sequence[float], count: int, seed: int, size: int | None = None
) -> tuple[Candidate, ...]:
    """At most ``count`` different sets, ``all`` and the last k first.

    Args:
        num_blocks: of the backbone.
        scores: of each block; the highest make sets.
        count: of candidates; where sets are more, each kind gives of its own in turn.
        seed: public, of the random sets.
        size: number of blocks of every set but ``all``; default: several.
    """
    sizes = sizes_of(num_blocks, size)
    kinds = [
        _contiguous(num_blocks, sizes),
        (("top", _top(scores, k)) for k in reversed(sizes)),
        _singles(scores) if size is None else iter(()),
        _random(num_blocks, sizes, np.random.default_rng([seed, 2])),
    ]
    first = [(ALL, tuple(range(num_blocks)))]
    first += [(LAST, last_layers(num_blocks, k)) for k in sizes]
    found: dict[tuple[int, ...], Candidate] = {}
    for kind, layers in itertools.chain(first, _in_turn(kinds)):
        if len(found) == count:
            break
        found.setdefault(layers, Candidate(kind, layers))
    return tuple(found.values())


def random_layers(num_blocks: int, size: int, random: np.random.Generator) -> tuple[int, ...]:
    """``size`` different blocks."""
    return tuple(sorted(random.choice(num_blocks, size, replace=False).tolist()))


def last_layers(num_blocks: int, size: int) -> tuple[int, ...]:
    """The top ``size`` blocks."""
    return tuple(range(num_blocks - size, num_blocks))


def random_control(
    num_blocks: int, size: int, seed: int, taken: Iterable[tuple[int, ...]]
) -> Candidate | None:
    """A random set of ``size`` blocks that is none of ``taken``; ``None`` where there is hardly another."""
    random, known = np.random.default_rng([seed, 3]), set(taken)
    draws = (random_layers(num_blocks, size, random) for _ in range(_MOST_DRAWS))
    return next((Candidate(RANDOM_CONTROL, layers) for layers in draws if layers not in known), None)


Made = tuple[str, tuple[int, ...]]


def _in_turn(kinds: Sequence[Iterator[Made]]) -> Iterator[Made]:
    for row in itertools.zip_longest(*kinds):
        yield from (made for made in row if made is not None)


def _contiguous(num_blocks: int, sizes: Sequence[int]) -> Iterator[Made]:
    """Overlapping by half, from the top, which is cheapest."""
    for k in sizes:
        for start in range(num_blocks - k, -1, -max(1, k // 2)):
            yield "contiguous", tuple(range(start, start + k))


def _top(scores: Sequence[float], size: int) -> tuple[int, ...]:
    return tuple(sorted(_best_first(scores)[:size]))


def _singles(scores: Sequence[float]) -> Iterator[Made]:
    yield from (("single", (block,)) for block in _best_first(scores))


def _best_first(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda block: (-scores[block], -block))


def _random(num_blocks: int, sizes: Sequence[int], random: np.random.Generator) -> Iterator[Made]:
    seen: set[tuple[int, ...]] = set()
    for draw in range(_MOST_DRAWS * len(sizes)):
        layers = random_layers(num_blocks, sizes[draw % len(sizes)], random)
        if layers not in seen:
            seen.add(layers)
            yield "random", layers
