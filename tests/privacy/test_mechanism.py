# SPDX-License-Identifier: Apache-2.0
"""The private step: sensitivity, noise, empty batches, bad input; each with a control that must fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fedpeft.errors import MechanismError
from fedpeft.privacy.arithmetic import float as float_module
from fedpeft.privacy.arithmetic import grid as grid_module
from fedpeft.privacy.clipping import FROZEN_SCALE, KEPT, ROUNDING_SLACK, RULES, VOTE, clip_factors
from fedpeft.privacy.mechanism import PoissonGaussianSum, combine, release_count
from fedpeft.privacy.randomness import Randomness
from fedpeft.types import Layout, Segment

SHAPES = ((3, 2), (4,), (5, 1))
SCALES = (0.5, 2.0, 1.0)


def layout(shapes: Sequence[tuple[int, ...]] = SHAPES) -> Layout:
    segments, start = [], 0
    for i, shape in enumerate(shapes):
        segments.append(Segment(f"s{i}", i, "m", shape, start))
        start = segments[-1].stop
    return Layout(tuple(segments))


ARGUMENTS: dict[str, object] = {
    "scales": SCALES, "noise_multiplier": 1.5, "sampling_rate": 0.1, "expected_batch": 10.0, "unit": "record",
}  # fmt: skip


@pytest.fixture(autouse=True, params=("float", "grid"))
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test of this file holds for both."""
    monkeypatch.setitem(ARGUMENTS, "arithmetic", request.param)
    return str(request.param)


def step(clipping: str = "automatic", **changes: object) -> PoissonGaussianSum:
    arguments = {**ARGUMENTS, "clipping": clipping, **changes}
    return PoissonGaussianSum(arguments.pop("layout", layout()), **arguments)


def gradients(
    n: int, size: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(size * torch.randn(n, *shape, generator=generator)).to(dtype) for shape in SHAPES]


def scaled_sum(mechanism: PoissonGaussianSum) -> np.ndarray:
    """The sum before noise, in the space where its sensitivity is 1."""
    arithmetic = mechanism._open()
    return arithmetic._sum.numpy() / getattr(arithmetic, "_steps", 1)


def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_module, "standard_normal", lambda _stream, count: np.zeros(count))
    monkeypatch.setattr(grid_module, "discrete_gaussian", lambda _stream, n: np.zeros(n, dtype=np.int64))


@pytest.mark.parametrize("clipping", RULES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_a_unit_adds_at_most_one(clipping: str, dtype: torch.dtype, size: float) -> None:
    for seed in range(20):
        mechanism = step(clipping)
        mechanism.add(gradients(1, size, seed, dtype))
        assert np.linalg.norm(scaled_sum(mechanism)) <= 1.0


@pytest.mark.parametrize("clipping", RULES)
def test_a_large_unit_adds_nearly_one(clipping: str) -> None:
    """Nothing is wasted: the bound is attained up to the declared slack and automatic clipping's gamma."""
    mechanism = step(clipping)
    mechanism.add(gradients(1, 1e4))
    assert np.linalg.norm(scaled_sum(mechanism)) >= 1 - 1e-4 - ROUNDING_SLACK


@pytest.mark.parametrize("clipping", RULES)
def test_adding_one_unit_moves_the_sum_by_at_most_one(clipping: str) -> None:
    """Neighbouring data, batched differently: the other units' contributions stay put."""
    base, extra = gradients(9, 3.0, 1), gradients(1, 50.0, 2)
    without, with_it = step(clipping), step(clipping)
    without.add(base)
    with_it.add([torch.cat((b[:4], e)) for b, e in zip(base, extra, strict=True)])
    with_it.add([b[4:] for b in base])
    assert np.linalg.norm(scaled_sum(with_it) - scaled_sum(without)) <= 1.0


def test_clipping_each_tensor_by_itself_would_be_noticed() -> None:
    """The control: three tensors clipped apart reach the square root of three."""
    parts = [clip_factors([g], [b], "flat") for g, b in zip(gradients(1, 1e3), SCALES, strict=True)]
    norms = [float(f[0] * g.norm() / b) for f, g, b in zip(parts, gradients(1, 1e3), SCALES, strict=True)]
    assert np.linalg.norm(norms) > 1.7


def test_the_clip_is_over_the_scaled_vector() -> None:
    """A unit in one segment only is clipped at that segment's scale."""
    for index, scale in enumerate(SCALES):
        unit = [torch.zeros(1, *shape) for shape in SHAPES]
        unit[index] += 1e6
        mechanism = step("flat")
        mechanism.add(unit)
        noised = scaled_sum(mechanism) * scale
        assert np.linalg.norm(noised) == pytest.approx(scale, rel=1e-3)


@pytest.mark.parametrize("clipping", RULES)
@pytest.mark.parametrize(("entry", "scale"), [(2e-23, 1e-12), (1e-40, 1e-12), (1e-44, 1e-10), (3e38, 1e12)])
def test_small_entries_and_extreme_scales_stay_within_the_sensitivity(
    clipping: str, entry: float, scale: float
) -> None:
    """In float32 the squares of such entries are zero, and a unit would pass unclipped."""
    mechanism = step(clipping, scales=(scale,) * 3)
    mechanism.add([torch.full((1, *shape), entry) for shape in SHAPES])
    assert np.linalg.norm(scaled_sum(mechanism)) <= 1.0
    assert np.isfinite(scaled_sum(mechanism)).all()


def test_a_wide_segment_loses_no_small_squares() -> None:
    """One entry of 1 and many whose squares float32 would lose beside it."""
    wide = torch.full((1, 4_000_000), 2.0**-12.6)
    wide[0, 0] = 1.0
    factor = float(clip_factors([wide], [1.0], "flat")[0])
    assert factor * float(wide.double().norm()) <= 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("clipping", RULES)
def test_a_non_finite_unit_adds_exactly_zero(clipping: str, bad: float) -> None:
    clean, dirty = step(clipping), step(clipping)
    batch = gradients(3)
    clean.add([g[[0, 2]] for g in batch])
    batch[1][1, 2] = bad
    dirty.add(batch)
    np.testing.assert_allclose(scaled_sum(dirty), scaled_sum(clean), rtol=0, atol=1e-7)


def test_an_empty_batch_releases_noise() -> None:
    released = step().release(Randomness.fresh().stream("noise"))
    assert released.value.shape == (layout().size,)
    assert np.all(released.value != 0)
    assert released.event.steps == 1


def _ratio(stream_name: str) -> np.ndarray:
    """Standard deviation of each segment's release over sigma b_s / expected batch, 10^6 draws each."""
    big = Layout(tuple(Segment(f"s{i}", i, "m", (10**6,), i * 10**6) for i in range(len(SCALES))))
    mechanism = step(layout=big)
    value = mechanism.release(Randomness.seeded(7).stream(stream_name)).value
    measured = np.array([value[s.slice].std() for s in big.segments])
    return measured / (1.5 * np.array(SCALES) / 10.0)


def test_noise_has_the_standard_deviation_the_event_states() -> None:
    assert np.all(np.abs(_ratio("a") - 1) < 0.005)


@pytest.mark.parametrize("factor", [2 / 3, 0.95, 3 / 2])
def test_other_noise_would_be_noticed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    normal, discrete = float_module.standard_normal, grid_module.discrete_gaussian
    monkeypatch.setattr(float_module, "standard_normal", lambda s, n: factor * normal(s, n))
    monkeypatch.setattr(
        grid_module, "discrete_gaussian", lambda s, n: np.rint(factor * discrete(s, n)).astype(np.int64)
    )
    assert np.all(np.abs(_ratio("a") - 1) > 0.04)


def test_every_coordinate_is_noised() -> None:
    stream = Randomness.seeded(3).stream("noise")
    values = np.stack([step().release(stream).value for _ in range(400)])
    expected = 1.5 * np.repeat(SCALES, [6, 4, 5]) / 10.0
    assert np.all(np.abs(values.std(0) / expected - 1) < 0.2)


def test_the_divisor_is_the_expected_batch_whatever_came(monkeypatch: pytest.MonkeyPatch) -> None:
    noiseless(monkeypatch)
    one, four = step(), step()
    unit = gradients(1)
    one.add(unit)
    four.add([g.repeat(4, *[1] * (g.dim() - 1)) for g in unit])
    stream = Randomness.fresh().stream("noise")
    np.testing.assert_allclose(four.release(stream).value, 4 * one.release(stream).value, rtol=1e-6)


def test_the_release_is_the_mean_clipped_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales come back out: for one scale C the release is sum g_i C / (|g_i| + 0.01 C) / B."""
    noiseless(monkeypatch)
    batch = gradients(5, 3.0)
    mechanism = step(scales=(2.0, 2.0, 2.0))
    mechanism.add(batch)
    flat = torch.cat([g.flatten(1) for g in batch], 1).double()
    norms = flat.norm(dim=1, keepdim=True)
    expected = (flat * 2 / (norms + 0.02)).sum(0) / 10
    got = mechanism.release(Randomness.fresh().stream("noise")).value
    np.testing.assert_allclose(got, expected.numpy(), rtol=2e-4)


def test_the_event_says_what_was_drawn() -> None:
    event = step().release(Randomness.fresh().stream("noise")).event
    assert (event.kind, event.noise_multiplier, event.sampling_rate, event.unit) == (
        "poisson-gaussian", 1.5, 0.1, "record",
    )  # fmt: skip


def test_combined_steps_are_all_counted() -> None:
    stream = Randomness.fresh().stream("noise")
    parts = [step().release(stream) for _ in range(3)]
    assert combine(parts, None).event.steps == 3
    other = step(noise_multiplier=2.0).release(stream)
    with pytest.raises(MechanismError, match="different kinds"):
        combine([*parts, other], None)
    with pytest.raises(MechanismError):
        combine([], None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scales", (1.0, 1.0)), ("scales", (1.0, 0.0, 1.0)), ("scales", (1.0, -1.0, 1.0)),
        ("scales", (1.0, float("nan"), 1.0)),
        ("scales", (1.0, 1e-30, 1.0)), ("scales", (1.0, 1e30, 1.0)), ("scales", (1.0, float("inf"), 1.0)),
        ("noise_multiplier", 0.0), ("noise_multiplier", float("nan")), ("noise_multiplier", -1.0),
        ("expected_batch", 0.0), ("sampling_rate", 0.0), ("sampling_rate", 1.1),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused_before_any_gradient(field: str, value: object) -> None:
    with pytest.raises(MechanismError, match=field):
        step(**{field: value})


def test_one_mechanism_makes_one_release() -> None:
    mechanism = step()
    stream = Randomness.fresh().stream("noise")
    mechanism.release(stream)
    with pytest.raises(MechanismError, match="already"):
        mechanism.release(stream)
    with pytest.raises(MechanismError, match="already"):
        mechanism.add(gradients(1))


def test_an_unknown_clipping_rule_or_shape_is_refused() -> None:
    with pytest.raises(MechanismError, match="clipping"):
        step("none").add(gradients(1))
    with pytest.raises(MechanismError, match="shapes"):
        step().add(gradients(1)[:2])


def test_a_frozen_segment_releases_zeros_and_takes_nothing_of_the_clip_norm() -> None:
    """The other segments are clipped as if it were not there, whatever its gradient."""
    mechanism, without = step("flat", scales=(0.5, FROZEN_SCALE, 1.0)), step("flat")
    unit = gradients(1, 0.01)
    unit[1] = torch.full((1, *SHAPES[1]), 1e6)
    mechanism.add(unit)
    unit[1] = torch.zeros(1, *SHAPES[1])
    without.add(unit)
    where = layout().segments[1].slice
    summed, expected = scaled_sum(mechanism), scaled_sum(without)
    assert np.abs(np.delete(summed - expected, range(where.start, where.stop))).max() < 1e-5
    released = mechanism.release(Randomness.fresh().stream("noise")).value
    assert (released[where] == 0).all()
    assert (np.delete(released, range(where.start, where.stop)) != 0).all()


def test_just_below_the_frozen_scale_noise_is_released() -> None:
    """The control: it is that one scale alone that stands for frozen."""
    mechanism = step("flat", scales=(0.5, FROZEN_SCALE / 2, 1.0))
    released = mechanism.release(Randomness.fresh().stream("noise")).value
    assert (np.abs(released[layout().segments[1].slice]) > 1e3).all()


def count(shares: Sequence[float], arithmetic: str) -> float:
    stream = Randomness.fresh().stream("count")
    return release_count(shares, noise_multiplier=1.5, unit="r", arithmetic=arithmetic, stream=stream).value


def test_a_count_is_the_sum_of_shares(monkeypatch: pytest.MonkeyPatch, arithmetic: str) -> None:
    noiseless(monkeypatch)
    assert count([1.0, 0.5, 0.0], arithmetic) == pytest.approx(1.5 * (1 - ROUNDING_SLACK), abs=1e-6)
    assert count([], arithmetic) == 0.0


@pytest.mark.parametrize("share", [1.0, 7.0, -3.0, float("nan"), float("inf"), -float("inf")])
def test_a_unit_moves_a_count_by_at_most_one(
    monkeypatch: pytest.MonkeyPatch, arithmetic: str, share: float
) -> None:
    noiseless(monkeypatch)
    moved = count([1.0, share], arithmetic) - count([1.0], arithmetic)
    assert 0 <= moved <= 1 - ROUNDING_SLACK / 2  # head-room for rounding, as everywhere


def test_a_count_has_noise_and_an_event(arithmetic: str) -> None:
    values = [count([1.0] * 3, arithmetic) for _ in range(400)]
    assert 0.85 < np.std(values) / 1.5 < 1.15
    stream = Randomness.fresh().stream("count")
    event = release_count([], noise_multiplier=2.5, unit="u", arithmetic=arithmetic, stream=stream).event
    assert (event.kind, event.noise_multiplier, event.sampling_rate, event.steps, event.unit) == (
        "gaussian", 2.5, 1.0, 1, "u",
    )  # fmt: skip
    with pytest.raises(MechanismError, match="noise_multiplier"):
        release_count([], noise_multiplier=0.0, unit="u", arithmetic=arithmetic, stream=stream)


class TestBounds:
    """Units that are clipped to less than 1 inside the same release."""

    @pytest.mark.parametrize("clipping", RULES)
    @pytest.mark.parametrize("bound", [1.0, 0.5, 0.1, 1e-3])
    @pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e6])
    def test_a_unit_adds_at_most_its_bound(
        self, clipping: str, bound: float, size: float, arithmetic: str
    ) -> None:
        rounding = {"float": 0.0, "grid": 1e-9}[arithmetic]
        for seed in range(5):
            mechanism = step(clipping)
            mechanism.add(gradients(1, size, seed), bound)
            assert np.linalg.norm(scaled_sum(mechanism)) <= bound + rounding

    @pytest.mark.parametrize("clipping", RULES)
    @pytest.mark.parametrize("bound", [1.0, 0.5, 0.1])
    def test_a_large_unit_adds_nearly_its_bound(self, clipping: str, bound: float) -> None:
        mechanism = step(clipping)
        mechanism.add(gradients(1, 1e6), bound)
        assert np.linalg.norm(scaled_sum(mechanism)) >= bound * (1 - 1e-4 - ROUNDING_SLACK)

    @pytest.mark.parametrize("clipping", RULES)
    def test_one_unit_more_moves_the_sum_by_its_bound_whoever_is_beside_it(self, clipping: str) -> None:
        """Neighbouring data, in a release with units of several bounds."""
        without, with_it = step(clipping), step(clipping)
        for mechanism in (without, with_it):
            mechanism.add(gradients(3, 5.0, 1))
            mechanism.add(gradients(4, 5.0, 2), 0.5)
        with_it.add(gradients(1, 50.0, 3), 0.3)
        assert 0.29 < np.linalg.norm(scaled_sum(with_it) - scaled_sum(without)) <= 0.3 + 1e-9

    def test_short_units_are_not_clipped_and_vote_so(self) -> None:
        """Under ``flat`` a bound is where clipping begins, not a factor on what is shorter."""
        unit = gradients(1, 0.01)
        norm = float(sum((u.double() / b).square().sum() for u, b in zip(unit, SCALES, strict=True)).sqrt())
        flat, voting, clipped = step("flat"), step("quantile"), step("quantile")
        flat.add(unit, 0.5)
        assert np.linalg.norm(scaled_sum(flat)) == pytest.approx(norm, rel=1e-4)
        voting.add(unit, 2 * norm)
        assert scaled_sum(voting)[-1] == pytest.approx(2 * norm * VOTE)
        clipped.add(unit, norm / 2)
        assert scaled_sum(clipped)[-1] == pytest.approx(-norm / 2 * VOTE)

    @pytest.mark.parametrize("bound", [1 + 1e-9, 2.0, 0.0, -0.5, float("nan"), float("inf")])
    def test_a_bound_beyond_the_sensitivity_is_refused(self, bound: float) -> None:
        mechanism = step()
        with pytest.raises(MechanismError, match="bound"):
            mechanism.add(gradients(1), bound)
        assert not scaled_sum(mechanism).any()


class TestVotes:
    """Units vote on the clip level in the same release, within the same sensitivity."""

    def _units(self, *norms: float) -> list[torch.Tensor]:
        """Units of these lengths after scaling."""
        units = gradients(len(norms))
        squares = sum((u.flatten(1) / b).square().sum(1) for u, b in zip(units, SCALES, strict=True))
        factors = torch.tensor(norms) / squares.sqrt()
        return [u * factors.view(-1, *[1] * (u.dim() - 1)) for u in units]

    def test_each_votes_for_its_own_length(self) -> None:
        mechanism = step("quantile")
        mechanism.add(self._units(0.5, 0.9, 1.5, 40.0, 2.0))
        assert scaled_sum(mechanism)[-1] == pytest.approx(VOTE * (2 - 3), abs=1e-6)

    def test_a_unit_that_is_not_finite_has_no_vote(self) -> None:
        mechanism, unit = step("quantile"), self._units(0.5)
        unit[0][0, 0, 0] = float("nan")
        mechanism.add(unit)
        assert (scaled_sum(mechanism) == 0).all()

    @pytest.mark.parametrize("norm", [0.0, 0.5, 1 - 1e-6, 1.0, 1 + 1e-6, 1e6])
    def test_vote_and_gradient_together_stay_within_the_sensitivity(self, norm: float) -> None:
        mechanism = step("quantile")
        mechanism.add(self._units(norm))
        assert np.linalg.norm(scaled_sum(mechanism)) <= 1.0

    def test_a_vote_beside_a_whole_gradient_would_be_noticed(self) -> None:
        """The control: a vote that is added without making room for it is beyond the sensitivity."""
        mechanism = step("flat")
        mechanism.add(self._units(5.0))
        assert np.hypot(np.linalg.norm(scaled_sum(mechanism)), VOTE) > 1.004

    def test_the_release_is_the_gradient_and_the_mean_vote_for_the_same_event(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noiseless(monkeypatch)
        voting, flat = step("quantile"), step("flat")
        for mechanism in (voting, flat):
            mechanism.add(self._units(0.5, 3.0, 4.0))
        stream = Randomness.fresh().stream("noise")
        with_vote, without = voting.release(stream), flat.release(stream)
        np.testing.assert_allclose(with_vote.value[:-1], without.value, rtol=1e-4, atol=1e-9)
        assert with_vote.value[-1] == pytest.approx((1 - 2) / 10.0, abs=1e-6)
        assert with_vote.event == without.event

    def test_noise_of_both_is_as_said(self) -> None:
        """Half a percent more in the gradient, sigma / 0.1 in the vote, over the expected batch."""
        shape = (200_000,)
        wide = step("quantile", layout=layout((shape,)), scales=(2.0,))
        released = wide.release(Randomness.fresh().stream("noise")).value
        assert released[:-1].std() == pytest.approx(1.5 * 2.0 / KEPT / 10.0, rel=0.01)
        random = Randomness.fresh()
        draws = [step("quantile").release(random.stream("noise", i)).value[-1] for i in range(2000)]
        assert np.std(draws) == pytest.approx(1.5 / VOTE / 10.0, rel=0.08)
