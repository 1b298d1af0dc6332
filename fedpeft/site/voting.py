# SPDX-License-Identifier: Apache-2.0
"""A site's vote: which public bins its training units fall into, summed and noised.

What leaves is one noised histogram, charged before a record is looked at. A public map makes a point of each
record, from its text or from the gradient of its loss; the record votes for the k bins nearest to it with
1/sqrt(k) each, and a unit's vote is the mean over its records: of L2 norm at most 1, however many there are.
No distance, no count and no text leaves, and none is logged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from fedpeft.data.embedding import embed_all
from fedpeft.errors import MechanismError
from fedpeft.privacy.histogram import MAX_BINS, MAX_NEIGHBOURS, PrivateHistogram, VoteRequest
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.mechanism import release_histogram
from fedpeft.privacy.randomness import Randomness
from fedpeft.site.fields import check_protocol, is_positive, refuse_malformed
from fedpeft.site.payload import to_bytes
from fedpeft.types import PrivacyEvent

Texts = Mapping[str, Sequence[str]]
"""What each unit's training records say, by unit."""

_BLOCK_NUMBERS: Final = 2**20


def check_vote(request: VoteRequest, maps: Mapping[str, int]) -> None:
    """Refuse a request that could not be served, before any data is read.

    Args:
        request: from outside.
        maps: names of the maps that the site knows, each with the dimension of what it makes.

    Raises:
        Refusal: ``PROTOCOL`` for another version, ``MALFORMED`` for any field out of its range.
    """
    check_protocol(request.protocol)
    bins = request.bins
    refuse_malformed(
        {
            "run_id": bool(request.run_id),
            "request_id": bool(request.request_id),
            "noise_multiplier": is_positive(request.noise_multiplier),
            "embedding": request.embedding in maps,
            "neighbours": 1 <= request.neighbours <= MAX_NEIGHBOURS,
            "bins": bins.ndim == 2
            and 1 <= bins.shape[0] <= MAX_BINS
            and bins.shape[1] == maps.get(request.embedding)
            and bool(np.isfinite(bins).all()),
        }
    )


def unit_vote(
    texts: Sequence[str], bins: npt.NDArray[np.float64], neighbours: int
) -> npt.NDArray[np.float64]:
    """``(num_bins,)`` one unit's vote by the texts of its records; see :func:`vote_of`."""
    return vote_of(embed_all(texts), bins, neighbours)


def vote_of(
    points: npt.NDArray[np.float64], bins: npt.NDArray[np.float64], neighbours: int
) -> npt.NDArray[np.float64]:
    """``(num_bins,)`` one unit's vote; zeros without a record. A point that is no number votes for nothing.

    Bins that are equally near go by their number.

    Args:
        points: ``(n, dimension)`` one for each of the unit's records.
        bins: ``(num_bins, dimension)``.
        neighbours: k; more than there are bins means all of them.
    """
    vote = np.zeros(len(bins))
    neighbours = min(neighbours, len(bins))
    lengths = np.einsum("ij,ij->i", bins, bins)
    for point in points:
        if np.isfinite(point).all():
            nearest = np.argsort(lengths - 2.0 * (bins @ point), kind="stable")[:neighbours]
            vote[nearest] += 1.0 / (math.sqrt(neighbours) * len(points))
    return vote


def vote_blocks(
    texts: Texts, bins: npt.NDArray[np.float64], neighbours: int
) -> Iterator[npt.NDArray[np.float64]]:
    """All units' votes by their texts, as :func:`in_blocks` has them; no text is touched before the first."""
    yield from in_blocks(map(embed_all, texts.values()), bins, neighbours)


def in_blocks(
    units: Iterable[npt.NDArray[np.float64]], bins: npt.NDArray[np.float64], neighbours: int
) -> Iterator[npt.NDArray[np.float64]]:
    """All units' votes, in blocks of one public size; rows of zeros fill the last.

    How much memory this takes says nothing of the number of units, which whoever chooses the bins could else
    find out by asking for more and more of them until a site fails.

    Args:
        units: the points of each unit's records; none gives one block of zeros.
        bins: ``(num_bins, dimension)``.
        neighbours: k.

    Yields:
        ``(rows, num_bins)`` always the same array, to be used before the next is asked for.
    """
    block, filled = np.zeros((max(1, _BLOCK_NUMBERS // len(bins)), len(bins))), 0
    for points in units:
        if filled == len(block):
            yield block
            block.fill(0.0)
            filled = 0
        block[filled] = vote_of(points, bins, neighbours)
        filled += 1
    yield block


def release_vote(
    request: VoteRequest,
    votes: Iterable[npt.NDArray[np.float64]],
    *,
    ledger: Ledger,
    unit: str,
    arithmetic: str,
    randomness: Randomness,
) -> PrivateHistogram:
    """Sum what was charged for, and store it before it leaves.

    Args:
        request: that was charged.
        votes: ``(rows, num_bins)`` one block after another, each row of norm at most 1.
        ledger: which holds the charge.
        unit: of the policy.
        arithmetic: the organization's own choice.
        randomness: of this request alone.

    Raises:
        MechanismError: what was released is not what was charged.
    """
    head = ledger.head
    released = release_histogram(
        votes,
        len(request.bins),
        noise_multiplier=request.noise_multiplier,
        unit=unit,
        arithmetic=arithmetic,
        stream=randomness.stream("vote"),
    )
    if released.event != PrivacyEvent("gaussian", request.noise_multiplier, 1.0, 1, unit):
        raise MechanismError("the mechanism's event is not the one that was charged; nothing is released")
    values = released.value.astype(np.float32)
    histogram = PrivateHistogram(request.request_id, values, released.event, head)
    ledger.store(request.request_id, to_bytes(histogram))
    return histogram
