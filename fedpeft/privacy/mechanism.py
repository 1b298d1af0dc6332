# SPDX-License-Identifier: Apache-2.0
"""The one private step: scale, clip, sum, noise, unscale, and the event that pays for it.

::

    z_i   = D^-1 g_i                      for each unit, over the whole vector; D = diag(b_s)
    R     = sum_i clip(z_i) + sigma N(0, I)
    g_hat = D R / expected_batch          the public expected size, never the actual one

Whatever D is, as long as it was fixed before the step, R has sensitivity 1, so the step is exactly one
Poisson-sampled Gaussian release with multiplier sigma. Scaling, clipping and noise meet here and nowhere
else; the event is computed from what was really drawn. The proof stands in ``docs/privacy.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedpeft.errors import MechanismError
from fedpeft.privacy.arithmetic.base import Arithmetic
from fedpeft.privacy.arithmetic.base import find as find_arithmetic
from fedpeft.privacy.clipping import (
    FROZEN_SCALE,
    KEPT,
    ROUNDING_SLACK,
    SENSITIVITY,
    VOTE,
    clip_factors,
    is_scale,
    released_size,
    votes,
)
from fedpeft.privacy.randomness import KeyedStream
from fedpeft.types import Layout, PrivacyEvent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Released(Generic[T]):
    """A value that was released under differential privacy, with its event. Only mechanisms make one."""

    value: T
    event: PrivacyEvent


def combine(parts: Sequence[Released[Any]], value: T) -> Released[T]:
    """``value``, computed from ``parts`` alone, with the event of all of them.

    Raises:
        MechanismError: no part, or parts whose steps are not identical.
    """
    kinds = {(p.event.kind, p.event.noise_multiplier, p.event.sampling_rate, p.event.unit) for p in parts}
    if len(kinds) != 1:
        raise MechanismError(f"combine: {len(kinds)} different kinds of steps; one event covers one kind")
    (kind, noise_multiplier, sampling_rate, unit) = kinds.pop()
    steps = sum(p.event.steps for p in parts)
    return Released(value, PrivacyEvent(kind, noise_multiplier, sampling_rate, steps, unit))


def release_count(
    shares: Sequence[float], *, noise_multiplier: float, unit: str, arithmetic: str, stream: KeyedStream
) -> Released[float]:
    """The sum of one number of each unit, between 0 and 1, with noise.

    Adding or removing a unit moves the sum by at most 1, with head-room for rounding, so this is a Gaussian
    release of every unit: a Poisson-sampled one at rate 1.

    Args:
        shares: of the units, in any order; what lies outside [0, 1] is moved to its end, what is no number
            counts as 0.
        noise_multiplier: standard deviation of the noise.
        unit: name of the privacy unit, for the event.
        arithmetic: a file of ``privacy/arithmetic``.
        stream: of the noise.

    Raises:
        MechanismError: the multiplier is not finite and positive.
    """
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise MechanismError(f"noise_multiplier: {noise_multiplier!r} must be finite and positive")
    total = find_arithmetic(arithmetic, 1, noise_multiplier)
    rows = torch.tensor(shares, dtype=torch.float64).reshape(-1, 1).nan_to_num(nan=0.0).clamp(0.0, 1.0)
    factors = torch.full((len(rows),), SENSITIVITY - ROUNDING_SLACK, dtype=torch.float64)
    total.add(slice(0, 1), factors, rows)
    count = float(total.noised(stream)[0])
    return Released(count, PrivacyEvent("gaussian", total.noise_multiplier, 1.0, 1, unit))


def release_histogram(
    blocks: Iterable[npt.NDArray[np.float64]],
    num_bins: int,
    *,
    noise_multiplier: float,
    unit: str,
    arithmetic: str,
    stream: KeyedStream,
) -> Released[npt.NDArray[np.float64]]:
    """``(num_bins,)`` the sum of one vote of each unit, with noise on every bin.

    A vote is shortened to L2 norm 1 where it is longer, so adding or removing a unit moves the sum by at most
    1 in that norm: a Gaussian release of every unit.

    Args:
        blocks: each ``(n, num_bins)``, one row a unit; a vote with a number that is not finite counts as none
            at all. Only one block is looked at at a time, so a single array may be filled anew.
        num_bins: public; at least 1.
        noise_multiplier: standard deviation of the noise.
        unit: name of the privacy unit, for the event.
        arithmetic: a file of ``privacy/arithmetic``.
        stream: of the noise.

    Raises:
        MechanismError: a block that is no table of these bins, no bin at all, or a multiplier that is not
            finite and positive.
    """
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise MechanismError(f"noise_multiplier: {noise_multiplier!r} must be finite and positive")
    if num_bins < 1:
        raise MechanismError(f"num_bins: {num_bins!r} must be at least 1")
    total = find_arithmetic(arithmetic, num_bins, noise_multiplier)
    for block in blocks:
        if block.ndim != 2 or block.shape[1] != num_bins:
            raise MechanismError(f"votes: shape {block.shape} is not (units, {num_bins} bins)")
        rows = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float64))
        factors = clip_factors([rows], [1.0], "flat")
        rows = rows.masked_fill((factors == 0)[:, None], 0.0)  # zero times NaN is NaN: mask before the sum
        total.add(slice(0, num_bins), factors, rows)
    counts = total.noised(stream)
    return Released(counts, PrivacyEvent("gaussian", total.noise_multiplier, 1.0, 1, unit))


class PoissonGaussianSum:
    """One release of the noised sum of clipped unit gradients.

    Feed it the gradients of the sampled units, in any number of parts, then ``release`` once. With no
    unit at all the release is noise like any other.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        scales: Sequence[float],
        clipping: str,
        noise_multiplier: float,
        sampling_rate: float,
        expected_batch: float,
        unit: str,
        arithmetic: str = "float",
    ) -> None:
        """Fix everything the release depends on before any private number is seen.

        Args:
            layout: of the ``(d,)`` vector, S segments.
            scales: ``(S,)`` b_s in [2^-40, 2^40]; a function of releases and public facts only. At 2^40 a
                segment is frozen: zeros are released for it.
            clipping: a rule of ``clipping.RULES``. Under ``"quantile"`` the vector that is clipped, summed
                and noised has one more coordinate, each unit's vote; the sensitivity is the same.
            noise_multiplier: standard deviation of the noise over the sensitivity of the sum.
            sampling_rate: probability with which each unit was sampled.
            expected_batch: public divisor, sampling rate times *declared* units.
            unit: name of the privacy unit, for the event.
            arithmetic: in which numbers to sum and to noise; a file of ``privacy/arithmetic``.

        Raises:
            MechanismError: a number out of its range, or too few scales.
        """
        if len(scales) != len(layout.segments) or not all(map(is_scale, scales)):
            raise MechanismError(
                f"scales: need {len(layout.segments)} numbers in [2^-40, 2^40], one a segment; "
                f"got {scales!r:.200}"
            )
        for name, value in (("noise_multiplier", noise_multiplier), ("expected_batch", expected_batch)):
            if not (math.isfinite(value) and value > 0):
                raise MechanismError(f"{name}: {value!r} must be finite and positive")
        if not 0 < sampling_rate <= 1:
            raise MechanismError(f"sampling_rate: {sampling_rate!r} must be in (0, 1]")
        self._layout = layout
        self._scales = tuple(float(b) for b in scales)
        self._clipping = clipping
        self._has_votes = released_size(0, clipping) > 0
        self._sampling_rate = sampling_rate
        self._expected_batch = expected_batch
        self._unit = unit
        self._sum: Arithmetic | None = find_arithmetic(
            arithmetic, released_size(layout.size, clipping), noise_multiplier
        )

    def add(self, unit_gradients: Sequence[Tensor], bound: float = SENSITIVITY) -> None:
        """Clip and add whole units.

        Args:
            unit_gradients: for each segment ``(n, *shape)``; row i of all segments is unit i. A unit with
                a number that is not finite adds exactly zero.
            bound: in (0, 1]; the most that the norm of each of these units may be in the sum.

        Raises:
            MechanismError: after ``release``, another shape than the layout's, or a bound beyond 1.
        """
        total = self._open()
        self._check_shapes(unit_gradients)
        if not 0 < bound <= SENSITIVITY:
            raise MechanismError(f"bound: {bound!r} must be in (0, 1], or the event would be false")
        factors = clip_factors(unit_gradients, self._scales, self._clipping, bound)
        dropped = factors == 0
        any_dropped = bool(dropped.any())
        if self._has_votes:
            ones = torch.ones_like(factors)[:, None]
            cast = bound * VOTE * votes(factors)
            total.add(slice(self._layout.size, self._layout.size + 1), cast, ones)
            factors = KEPT * factors
        for segment, scale, gradient in zip(self._layout.segments, self._scales, unit_gradients, strict=True):
            rows = gradient.flatten(1)
            if any_dropped:  # zero times NaN is NaN: mask before the sum
                rows = rows.masked_fill(dropped[:, None], 0.0)
            total.add(segment.slice, factors / scale, rows)

    def release(self, stream: KeyedStream) -> Released[npt.NDArray[np.float64]]:
        """Add the noise and divide: the ``(d,)`` estimate of the mean clipped gradient, and its event.

        Under ``"quantile"`` it is ``(d + 1,)``, and the last number estimates the mean vote.

        Raises:
            MechanismError: called twice.
        """
        total = self._open()
        self._sum = None
        noised = total.noised(stream)
        for segment, scale in zip(self._layout.segments, self._scales, strict=True):
            noised[segment.slice] *= scale if scale < FROZEN_SCALE else 0.0  # what was noised is thrown away
        if self._has_votes:
            noised[: self._layout.size] /= KEPT
            noised[self._layout.size] /= VOTE
        event = PrivacyEvent(
            kind="poisson-gaussian",
            noise_multiplier=total.noise_multiplier,
            sampling_rate=self._sampling_rate,
            steps=1,
            unit=self._unit,
        )
        return Released(noised / self._expected_batch, event)

    def _open(self) -> Arithmetic:
        if self._sum is None:
            raise MechanismError("this release was made already; every step needs a mechanism of its own")
        return self._sum

    def _check_shapes(self, unit_gradients: Sequence[Tensor]) -> None:
        shapes = [tuple(g.shape[1:]) for g in unit_gradients]
        if shapes != [s.shape for s in self._layout.segments]:
            raise MechanismError(f"unit gradients: shapes {shapes!r:.200} are not those of the layout")
