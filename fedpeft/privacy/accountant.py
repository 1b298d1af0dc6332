# SPDX-License-Identifier: Apache-2.0
"""From privacy events to epsilon, and from epsilon to a noise multiplier.

Every figure is a proven upper bound in the add-or-remove-one relation. Two of them exist: numerical
composition of privacy loss distributions (PLD), valid for a schedule that was fixed before its first
step, and Renyi differential privacy (RDP). A third, opacus' accountant, serves as a second opinion.
``dp_accounting`` and the accountants of ``opacus`` are used here and nowhere else, and imported only
when a figure is asked for.

Where doubles cannot carry a figure, the events are made worse, never better: a step with hardly any
privacy loss is counted as one with a little more, and the rounding error of the Fourier transform is
taken off delta before epsilon is read. Beyond that a bound is infinite.
"""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fedpeft.errors import ConfigError, EventError
from fedpeft.privacy.calibration import central_limit, smallest_multiplier
from fedpeft.privacy.events import POISSON_GAUSSIAN, check_event
from fedpeft.types import PrivacyEvent

MAX_EPSILON = 1000.0
"""Largest epsilon to calibrate for."""

_COARSEST_GRID, _FINEST_USUAL_GRID = 1e-3, 1e-4
# Rounding privacy losses to a grid of width h adds at most h^2 / 6 to the variance of each step, so it
# inflates epsilon by about h^2 / (12 s^2) where s is the scale of one step's loss. The grid follows s:
# the inflation is near 2e-6 for usual runs, and at most 1 % for the smallest losses.
_USUAL_FRACTION, _LARGEST_FRACTION = 0.005, 0.35
# Steps below this scale of the loss are counted as if they had it: hockey-stick divergences much smaller
# than 1e-5 lose their digits in double precision.
_SMALLEST_LOSS = 1e-5
# Measured against exactly composed Gaussians: the transform lost at most 2e-13 of delta in 10,000 steps,
# 3e-12 in 1,000,000 and 2e-10 in 10,000,000.
_ROUNDING, _ROUNDING_PER_STEP = 1e-14, 1e-16
_MAX_PRV_EPSILON = 200.0  # beyond it opacus' PRV accountant takes a minute
_MOST_POINTS = 400_000  # on either side of one step's distribution
_EXPONENT = 500.0  # of e: from here on adding or subtracting one changes nothing, and squares overflow soon

_Groups = tuple[tuple[float, float, int], ...]  # (noise multiplier, sampling rate, steps), all different


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """An epsilon of opacus' accountants.

    Attributes:
        epsilon: an upper bound of its own.
        accountant: ``"prv"``, or ``"rdp"`` where the former cannot be computed.
        tolerance: how far above a correct figure it may lie; a first opinion below
            ``epsilon - tolerance`` is contradicted. Infinite for ``"rdp"``, which is loose.
    """

    epsilon: float
    accountant: str
    tolerance: float


def epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound what all events together cost: the smaller of PLD and RDP.

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    events = tuple(events)
    return min(epsilon_pld(events, delta), epsilon_rdp(events, delta))


def epsilon_pld(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound the cost by privacy loss distributions (dp-accounting, pessimistic connect-the-dots).

    Infinite where it cannot be computed: losses too large for an array, or a delta that drowns in rounding
    errors (near ``1e-16`` a step).

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    groups = _merge(events)
    _check_delta(delta)
    if not groups:
        return 0.0
    rounding = _ROUNDING + _ROUNDING_PER_STEP * sum(steps for _, _, steps in groups)
    if rounding >= delta or _second_order(groups) > 5 * MAX_EPSILON:
        return math.inf
    return float(_composed(groups, _grid(groups)).get_epsilon_for_delta(delta - rounding))


def epsilon_rdp(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound the cost by Renyi divergences (dp-accounting, its default orders).

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    groups = _merge(events)
    _check_delta(delta)
    return _rdp(groups, delta) if groups else 0.0


def epsilon_second_opinion(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound the cost by opacus' accountant; see :func:`second_opinion`."""
    return second_opinion(events, delta).epsilon


def second_opinion(events: Iterable[PrivacyEvent], delta: float) -> SecondOpinion:
    """Ask opacus: its PRV accountant (Gopi et al. 2021, arXiv:2106.02848), else its RDP accountant.

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    groups = _merge(events)
    _check_delta(delta)
    return _opinion_of_opacus(groups, delta) if groups else SecondOpinion(0.0, "prv", 0.0)


@functools.lru_cache(maxsize=256)
def calibrate(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Find the smallest noise multiplier of four decimals whose PLD epsilon is at most ``epsilon``.

    Args:
        epsilon: target, in (0, 1000].
        delta: target, in (0, 1).
        sampling_rate: of every step, in (0, 1].
        steps: private steps in all.

    Raises:
        ConfigError: a value out of range, or no multiplier that reaches the target.
    """
    if not 0 < epsilon <= MAX_EPSILON:
        raise ConfigError(f"epsilon = {epsilon}: must lie in (0, {MAX_EPSILON:g}] to calibrate noise for it")
    _check_delta(delta)

    def cost(noise_multiplier: float) -> float:
        event = PrivacyEvent(POISSON_GAUSSIAN, noise_multiplier, sampling_rate, steps, "record")
        return epsilon_pld([event], delta)

    try:
        check_event(PrivacyEvent(POISSON_GAUSSIAN, 1.0, sampling_rate, steps, "record"))
    except EventError as error:
        raise ConfigError(str(error)) from error
    guess = central_limit(epsilon, delta, sampling_rate, steps)
    multiplier = smallest_multiplier(guess, cost, epsilon)
    if multiplier is None:
        raise ConfigError(
            f"epsilon = {epsilon}: no noise multiplier reaches it with delta = {delta}, sampling_rate = "
            f"{sampling_rate}, steps = {steps}; raise epsilon or delta, or take fewer steps"
        )
    return multiplier


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ConfigError(f"delta = {delta}: must lie strictly between 0 and 1")


def _merge(events: Iterable[PrivacyEvent]) -> _Groups:
    """Check events and add up equal ones; all full-batch Gaussians become one, which is exact."""
    steps_of: defaultdict[tuple[float, float], int] = defaultdict(int)
    precision = 0.0
    units = set()
    for event in events:
        check_event(event)
        units.add(event.unit)
        # dp-accounting drops events whose multiplier is not a Python float.
        multiplier, rate = float(event.noise_multiplier), float(event.sampling_rate)
        if rate == 1:
            precision += event.steps / multiplier**2
        else:
            steps_of[_worsen(multiplier, rate)] += event.steps
    if len(units) > 1:
        raise EventError(f"units {sorted(units)}: events that protect different units do not compose")
    if precision:
        steps_of[1 / math.sqrt(precision), 1.0] += 1
    return tuple(sorted((sigma, rate, steps) for (sigma, rate), steps in steps_of.items()))


def _worsen(multiplier: float, rate: float) -> tuple[float, float]:
    """Raise the rate, then lower the multiplier, of a step whose loss is too small for doubles.

    Both are monotone: hockey-stick divergences are convex in the rate and zero at rate 0, and less noise
    is undone by adding some.
    """
    needed = _SMALLEST_LOSS / math.sqrt(math.expm1(min(multiplier**-2, _EXPONENT)))
    rate = max(rate, min(needed, 0.5))
    return min(multiplier, 1 / math.sqrt(math.log1p((_SMALLEST_LOSS / rate) ** 2))), rate


def _second_order(groups: _Groups) -> float:
    """Renyi divergence of order 2, in closed form: a cheap measure of how long PLD's arrays get."""
    return sum(steps * _log1p_expm1(rate**2, sigma**-2) for sigma, rate, steps in groups)


def _grid(groups: _Groups) -> float:
    """Width of the grid of privacy losses, from a step's loss: the root of its chi-square divergence."""
    total = sum(steps for _, _, steps in groups)
    square = sum(steps * rate**2 * math.expm1(min(sigma**-2, _EXPONENT)) for sigma, rate, steps in groups)
    scale = math.sqrt(square / total)
    usual = min(max(_USUAL_FRACTION * scale, _FINEST_USUAL_GRID), _COARSEST_GRID)
    # The rare large losses of a small rate with little noise: a longer array is not worth its seconds.
    longest = max(_log1p_expm1(rate, 10 / sigma + sigma**-2 / 2) for sigma, rate, _ in groups)
    return max(min(usual, _LARGEST_FRACTION * scale), longest / _MOST_POINTS)


def _log1p_expm1(factor: float, exponent: float) -> float:
    """``log(1 + factor * (e^exponent - 1))`` without overflow."""
    if exponent > _EXPONENT:
        return exponent + math.log(factor)
    return math.log1p(factor * math.expm1(exponent))


@functools.lru_cache(maxsize=16)
def _step_distribution(sigma: float, rate: float, grid: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        sigma, value_discretization_interval=grid, sampling_prob=rate
    )


@functools.lru_cache(maxsize=8)
def _composed(groups: _Groups, grid: float) -> Any:
    parts = [
        distribution if steps == 1 else distribution.self_compose(steps)
        for distribution, steps in ((_step_distribution(s, q, grid), steps) for s, q, steps in groups)
    ]
    return functools.reduce(lambda left, right: left.compose(right), parts)


@functools.lru_cache(maxsize=64)
def _opinion_of_opacus(groups: _Groups, delta: float) -> SecondOpinion:
    from opacus.accountants import PRVAccountant, RDPAccountant

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of orders and of logarithms that it handles
        rdp = RDPAccountant()
        rdp.history = list(groups)
        bound = float(rdp.get_epsilon(delta))
        prv = PRVAccountant()
        # Its formulas hold log(1 - rate); so near to one the figure is that of the full batch.
        prv.history = [(sigma, min(rate, 1 - 1e-9), steps) for sigma, rate, steps in groups]
        # The mesh shrinks with the root of the steps; this keeps it at a few million points.
        resolution = max(0.01, 1e-6 * bound * math.sqrt(sum(steps for _, _, steps in groups)))
        figure = math.nan
        if bound <= _MAX_PRV_EPSILON:
            with suppress(RuntimeError, ValueError):  # its ways to say that the numbers do not allow it
                figure = float(prv.get_epsilon(delta, eps_error=resolution))
    if math.isfinite(figure):
        return SecondOpinion(figure, "prv", 2 * resolution)
    return SecondOpinion(bound, "rdp", math.inf)


def _rdp(groups: _Groups, delta: float) -> float:
    return float(_rdp_accountant(groups).get_epsilon(delta))


@functools.lru_cache(maxsize=64)
def _rdp_accountant(groups: _Groups) -> Any:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    with _without_order_warnings():
        for sigma, rate, steps in groups:
            event = dp_accounting.GaussianDpEvent(sigma)
            accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, event), steps)
    return accountant


@contextmanager
def _without_order_warnings() -> Iterator[None]:
    """Hide the note that an order did not converge: leaving one out can only raise the bound."""
    logger = logging.getLogger("absl")

    def wanted(record: logging.LogRecord) -> bool:
        return "failed to converge" not in record.getMessage()

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
