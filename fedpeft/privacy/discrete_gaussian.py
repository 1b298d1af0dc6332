# SPDX-License-Identifier: Apache-2.0
"""Integers from the discrete Gaussian, exactly, at the speed of float64.

The law is P(k) proportional to exp(-k^2 / (2 s^2)) with s = 2^scale_bits (Canonne, Kamath, Steinke, "The
Discrete Gaussian for Differential Privacy", 2020). Because s is a power of two, |k| = n s + x falls apart
into independent bits (the idea of Karney, "Sampling exactly from the normal distribution", 2016):

* n has probability 2^-(n+1): a run of ones; x is uniform in [0, s); the sign is a coin, -0 is refused;
* the trial is accepted with probability p = 2^(n-1) exp((1 - (|k|/s)^2) / 2), which is at most 0.83 for
  n = 0 and at most 1 for every other n. The factors 2^-(n+1) and 2^(n-1) cancel: what is accepted has
  exactly the law above, and more than half is accepted.

The coin of probability p is "a uniform number U lies below p". U is known to 64 bits and p in float64 with
an error far below ``_MARGIN``; where they are farther apart than that, the float comparison *is* the exact
one. Otherwise, once in some 10^10 trials, p is computed to hundreds of digits and U is given more bits
until they differ. No step rounds a probability, so there is no statistical distance to be charged.
"""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

from fedpeft.privacy.randomness import KeyedStream

MAX_SCALE_BITS: Final = 40

_WORD: Final = 64
_CHUNK: Final = 1 << 17  # trials at a time, so that memory stays small
# (|k|/s)^2 < 23^2 is rounded by 2^-53 of itself, so its half by 2^-45, and exp, if right to 2^-48, gives p to
# 2^-44. Were a library's exp wrong by 2^-37 of itself, the margin would still hold.
_MARGIN: Final = 2.0**-36
_RUN_BITS: Final = _WORD - 1 - MAX_SCALE_BITS
_DIGITS: Final = 200  # of p, to begin with; |k|/s and its square have fewer, so they are exact


def discrete_gaussian(
    stream: KeyedStream, count: int, scale_bits: int = MAX_SCALE_BITS
) -> npt.NDArray[np.int64]:
    """``(count,)`` independent integers of the discrete Gaussian with parameter s = 2^scale_bits.

    Args:
        stream: of secret uniform words; how many it gives depends on what they are.
        count: of integers.
        scale_bits: from 0 to 40. The standard deviation is s up to a factor of 1 + exp(-19 s^2).
    """
    out = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        missing = count - filled
        accepted = _trials(stream, min(2 * missing + 64, _CHUNK), scale_bits)[:missing]
        out[filled : filled + accepted.size] = accepted
        filled += accepted.size
    return out


def _trials(stream: KeyedStream, count: int, scale_bits: int) -> npt.NDArray[np.int64]:
    """What is accepted of so many trials, in their order."""
    bits, uniform = stream.words(count), stream.words(count)
    runs = bits >> np.uint64(_WORD - _RUN_BITS)
    whole = np.bitwise_count(runs ^ (runs + np.uint64(1))).astype(np.int32) - 1  # ones below the lowest zero
    rest = (bits & np.uint64((1 << scale_bits) - 1)).astype(np.int64)
    size = (whole.astype(np.int64) << scale_bits) + rest
    negative = (bits & np.uint64(1 << MAX_SCALE_BITS)) != 0
    ratio = size * 2.0**-scale_bits  # exact: below 2^53
    accepted_below = np.ldexp(np.exp(0.5 - 0.5 * ratio * ratio), whole - 1)
    distance = accepted_below - uniform * 2.0**-_WORD
    accepted = distance > 0
    for i in np.flatnonzero((np.abs(distance) < _MARGIN) | (whole == _RUN_BITS)):
        n = int(whole[i])
        if n == _RUN_BITS:  # the run of ones did not end in this word
            n += _run_of_ones(stream)
        magnitude = (n << scale_bits) + int(rest[i])
        accepted[i] = _is_below(int(uniform[i]), n, magnitude, scale_bits, stream)
        if accepted[i]:
            size[i] = magnitude
    accepted &= ~(negative & (size == 0))
    values: npt.NDArray[np.int64] = np.where(negative, -size, size)[accepted]
    return values


def _run_of_ones(stream: KeyedStream) -> int:
    total = 0
    while True:
        word = int(stream.words(1)[0])
        ones = (word ^ (word + 1)).bit_length() - 1
        total += ones
        if ones < _WORD:
            return total


def _is_below(uniform: int, whole: int, magnitude: int, scale_bits: int, stream: KeyedStream) -> bool:
    """Whether U < 2^(whole-1) exp((1 - (magnitude/s)^2) / 2), where U begins with the word ``uniform``.

    Decimal's ``exp`` is rounded correctly, so p lies within one unit of its last digit.
    """
    num_bits, digits = _WORD, _DIGITS
    while True:
        with decimal.localcontext(prec=digits, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX) as context:
            numerator = Decimal((1 << 2 * scale_bits) - magnitude**2)
            exponent = numerator / (1 << (2 * scale_bits + 1))
            power = Decimal(2) ** (num_bits + whole - 1)
            if context.flags[decimal.Inexact]:
                digits *= 2
                continue
            threshold = exponent.exp() * power
            error = threshold.scaleb(3 - digits)
            if uniform + 1 <= threshold - error:
                return True
            if uniform >= threshold + error:
                return False
        uniform = (uniform << _WORD) | int(stream.words(1)[0])
        num_bits, digits = num_bits + _WORD, digits + 20
