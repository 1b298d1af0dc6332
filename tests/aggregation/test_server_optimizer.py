# SPDX-License-Identifier: Apache-2.0
"""Server optimizers agree with torch and go on bit for bit from their saved state."""

import numpy as np
import pytest
import torch

from fedpeft.aggregation.server_optimizer import ADAM_BETA2, Adam, Momentum, Sgd, make_server_optimizer
from fedpeft.errors import ConfigError
from fedpeft.settings import FederationSettings

OPTIMIZERS = [Sgd(0.7, 0.05), Momentum(0.7, 0.05, 0.9), Adam(0.7, 0.05, 0.9)]


def _means(rounds=5, size=6):
    return list(np.random.default_rng(0).standard_normal((rounds, size)))


def _run(optimizer, means, adapter=None, state=None):
    adapter = np.linspace(-1, 1, means[0].size).astype(np.float32) if adapter is None else adapter
    state = {} if state is None else state
    for mean in means:
        adapter, state = optimizer.apply(adapter, mean, np.zeros_like(mean), state)
    return adapter, state


def _torch_reference(make, means):
    """torch minimizes along a gradient; an update is a descent step, so its negative is the gradient."""
    parameter = torch.linspace(-1, 1, means[0].size, dtype=torch.float32).double().requires_grad_()
    optimizer = make([parameter])
    for mean in means:
        parameter.grad = torch.from_numpy(-mean)
        optimizer.step()
    return parameter.detach().numpy()


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        (Sgd(0.3, 0.0), lambda p: torch.optim.SGD(p, lr=0.3)),
        (Momentum(0.3, 0.0, 0.9), lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9)),
        (Adam(0.3, 0.0, 0.8), lambda p: torch.optim.Adam(p, lr=0.3, betas=(0.8, 0.99), eps=1e-8)),
        (
            Adam(0.3, 0.1, 0.8),
            lambda p: torch.optim.AdamW(p, lr=0.3, betas=(0.8, 0.99), eps=1e-8, weight_decay=0.1),
        ),
    ],
)
def test_agrees_with_torch(optimizer, make):
    means = _means()
    np.testing.assert_allclose(_run(optimizer, means)[0], _torch_reference(make, means), atol=1e-6)


def test_sgd_with_rate_one_is_federated_averaging():
    adapter, mean = np.array([1.0, 2.0], np.float32), np.array([0.5, -0.25])
    moved, state = Sgd(1.0, 0.0).apply(adapter, mean, np.zeros_like(mean), {})
    np.testing.assert_array_equal(moved, np.array([1.5, 1.75], np.float32))
    assert state == {}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
class TestEveryOptimizer:
    def test_stopping_and_going_on_changes_no_bit(self, optimizer):
        means = _means(6)
        whole, whole_state = _run(optimizer, means)
        half, state = _run(optimizer, means[:3])
        state = {key: np.array(value) for key, value in state.items()}  # as read back from a file
        rest, rest_state = _run(optimizer, means[3:], half, state)
        assert rest.tobytes() == whole.tobytes()
        assert {k: v.tobytes() for k, v in rest_state.items()} == {
            k: v.tobytes() for k, v in whole_state.items()
        }

    def test_arguments_are_not_changed(self, optimizer):
        adapter, mean = np.ones(6, np.float32), np.full(6, 2.0)
        _, state = optimizer.apply(adapter, mean, np.zeros_like(mean), {})
        before = {key: value.copy() for key, value in state.items()}
        optimizer.apply(adapter, mean, np.zeros_like(mean), state)
        assert (adapter == 1).all()
        assert (mean == 2).all()
        assert all(np.array_equal(before[key], state[key]) for key in state)

    def test_state_is_plain_float64_arrays(self, optimizer):
        _, state = _run(optimizer, _means(1))
        assert all(
            isinstance(v, np.ndarray) and v.dtype == np.float64 and v.ndim == 1 for v in state.values()
        )

    def test_decay_is_apart_from_the_direction(self, optimizer):
        adapter, zero = np.full(6, 2.0, np.float32), np.zeros(6)
        moved, _ = optimizer.apply(adapter, zero, zero, {})
        np.testing.assert_allclose(moved, 2.0 * (1 - 0.7 * 0.05), rtol=1e-6)

    def test_result_is_float32(self, optimizer):
        assert _run(optimizer, _means(1))[0].dtype == np.float32


@pytest.mark.parametrize(("name", "kind"), [("sgd", Sgd), ("momentum", Momentum), ("adam", Adam)])
def test_made_from_settings(name, kind):
    settings = FederationSettings(
        server_optimizer=name, server_learning_rate=0.5, lambda1=0.1, server_momentum=0.6
    )
    optimizer = make_server_optimizer(settings)
    assert type(optimizer) is kind
    assert (optimizer.learning_rate, optimizer.decay) == (0.5, 0.1)
    assert getattr(optimizer, "beta", 0.6) == 0.6


def test_decay_that_removes_the_adapter_is_refused():
    with pytest.raises(ConfigError, match=r"federation\.lambda1: 0\.5 .* below 1"):
        make_server_optimizer(FederationSettings(server_learning_rate=2.0, lambda1=0.5))


class TestAdamUnderNoise:
    """Signal of one size in two coordinates, noise in one of them only."""

    SIGNAL, NOISE = 0.3, np.array([0.0, 4.0])

    def _directions(self, rounds: int, told: bool) -> np.ndarray:
        random, found = np.random.default_rng(0), []
        for _ in range(200):
            state = {}
            for _ in range(rounds):
                mean = self.SIGNAL + np.sqrt(self.NOISE) * random.standard_normal(2)
                direction, state = Adam(1.0, 0.0, 0.9).direction(mean, self.NOISE * told, state)
            found.append(direction)
        return np.array(found)

    def test_the_second_moment_is_that_of_the_signal(self):
        """Without correction the noisy coordinate moves signal / noise as far; with it, further."""
        told, untold = self._directions(300, True), self._directions(300, False)
        assert untold.mean(axis=0)[0] == pytest.approx(1.0, rel=1e-6)
        assert told.mean(axis=0)[0] == pytest.approx(1.0, rel=1e-6)
        assert untold.mean(axis=0)[1] == pytest.approx(0.3 / np.sqrt(0.09 + 4.0), abs=0.05)
        assert told.mean(axis=0)[1] > 2 * untold.mean(axis=0)[1]

    @pytest.mark.parametrize("rounds", [1, 2, 10, 100])
    def test_a_quiet_coordinate_gets_no_leap(self, rounds):
        """The denominator is at least what noise alone would leave of the moment, whatever was drawn."""
        state = {}
        for _ in range(rounds):
            direction, state = Adam(1.0, 0.0, 0.9).direction(np.full(2, 0.1), np.full(2, 4.0), state)
        power = ADAM_BETA2**rounds
        spread = np.sqrt(2 * (1 - ADAM_BETA2) * (1 + power) / ((1 + ADAM_BETA2) * (1 - power)))
        assert (np.abs(direction) <= 0.1 / np.sqrt(4.0 * spread) * (1 + 1e-9)).all()

    def test_the_spread_is_that_of_noise(self):
        """The control of the bound: the moment of pure noise has that standard deviation."""
        random, moments = np.random.default_rng(1), []
        for _ in range(2000):
            state = {}
            for _ in range(8):
                _, state = Adam(1.0, 0.0, 0.9).direction(random.standard_normal(2), np.ones(2), state)
            moments.append(state["second"] / (1 - ADAM_BETA2**8))
        power = ADAM_BETA2**8
        expected = np.sqrt(2 * (1 - ADAM_BETA2) * (1 + power) / ((1 + ADAM_BETA2) * (1 - power)))
        assert np.std(moments) == pytest.approx(expected, rel=0.08)
