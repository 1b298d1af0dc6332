# SPDX-License-Identifier: Apache-2.0
"""DP-SelFT: the decision on known outcomes, and the whole of it where one block alone can learn."""

from __future__ import annotations

import inspect

import pytest

from fedpeft.backbone.base import Backbone
from fedpeft.errors import ConfigError, DataError
from fedpeft.selection.base import Inputs, Scored, Selection, find
from fedpeft.selection.candidates import ALL, RANDOM_CONTROL, Candidate
from fedpeft.selection.halving import rank
from fedpeft.selection.regime import Regime
from fedpeft.selection.selft import decide
from fedpeft.selection.trials import Effort, Outcome, Trials
from fedpeft.stage_settings import SelectionSettings
from fedpeft.testing import tiny_backbone
from tests.selection.conftest import PLANTED, PLANTED_ADAPTER, rows, small_regime


def final(**losses: tuple[tuple[int, ...], tuple[float, ...]]) -> list[Scored]:
    """Outcomes by kind; ``_`` in a name stands for a space, a number at its end for nothing."""
    found = [
        Scored(Candidate(name.rstrip("0123456789").replace("_", " "), layers), Outcome(values, 1), 8)
        for name, (layers, values) in losses.items()
    ]
    return sorted(found, key=rank)


EVERY, CONTROL = (0, 1, 2, 3), (0, 2)


class TestDecision:
    def test_a_set_that_beats_both_controls_is_chosen(self) -> None:
        scored = final(
            all=(EVERY, (2.0, 2.1, 2.2)),
            random_control=(CONTROL, (1.9, 2.0, 2.1)),
            top=((1, 3), (1.0, 1.1, 1.2)),
        )
        layers, why = decide(scored)
        assert layers == (1, 3)
        assert "better than all blocks" in why

    @pytest.mark.parametrize("control", [ALL, RANDOM_CONTROL])
    def test_one_within_a_standard_error_of_a_control_is_not(self, control: str) -> None:
        level, worse = (1.1, 1.0, 1.3), (2.0, 2.1, 2.2)
        scored = final(
            all=(EVERY, level if control == ALL else worse),
            random_control=(CONTROL, level if control == RANDOM_CONTROL else worse),
            top=((1, 3), (1.0, 1.1, 1.2)),
        )
        layers, why = decide(scored)
        assert layers == EVERY
        assert repr(control) in why

    def test_seeds_are_paired(self) -> None:
        """Means that lie within a standard error of their own, and differences that do not."""
        scored = final(
            all=(EVERY, (1.1, 5.1, 9.1)),
            random_control=(CONTROL, (1.2, 5.2, 9.2)),
            top=((1,), (1.0, 5.0, 9.0)),
        )
        assert scored[0].outcome.standard_error > 0.1
        assert decide(scored)[0] == (1,)

    def test_among_level_sets_the_one_that_begins_highest_is_chosen(self) -> None:
        scored = final(
            all=(EVERY, (2.0, 2.1, 2.2)),
            top=((0, 1), (1.0, 1.1, 1.2)),
            random=((3,), (1.1, 1.0, 1.21)),
            single=((2,), (1.5, 1.6, 1.7)),
        )
        layers, why = decide(scored)
        assert layers == (3,)
        assert "cheaper" in why

    def test_a_cheaper_set_that_is_worse_is_not(self) -> None:
        scored = final(
            all=(EVERY, (2.0, 2.1, 2.2)), top=((0, 1), (1.0, 1.1, 1.2)), random=((3,), (1.2, 1.3, 1.4))
        )
        assert decide(scored)[0] == (0, 1)

    def test_sets_that_all_went_astray_leave_all_blocks(self) -> None:
        astray = (float("inf"),) * 3
        assert decide(final(all=(EVERY, astray), top=((1,), astray)))[0] == EVERY
        assert decide(final(all=(EVERY, (1.0, 1.0, 1.0)), top=((1,), astray)))[0] == EVERY

    def test_all_blocks_alone_are_chosen(self) -> None:
        assert decide(final(all=(EVERY, (1.0, 1.0, 1.0))))[0] == EVERY


def select(backbone: Backbone, regime: Regime, **settings: object) -> Selection:
    chosen = SelectionSettings(
        selector="selft", candidates=12, steps=12, batch=6, perturbations=2, **settings
    )
    trials = Trials(
        backbone.model, PLANTED_ADAPTER, regime, rows(24), rows(12, seed=1),
        batch=chosen.batch, perturbations=chosen.perturbations, seed=chosen.seed,
    )  # fmt: skip
    return find("selft").choose(Inputs(trials.blocks, chosen, trials))


def test_the_block_that_can_learn_is_found(planted_backbone: Backbone) -> None:
    selection = select(planted_backbone, small_regime(0.02, rounds=12, learning_rate=3.0))
    assert selection.layers == (PLANTED,), selection.why
    assert len(selection.candidates) >= 4


def test_where_training_moves_nothing_all_blocks_stay() -> None:
    found = select(tiny_backbone(num_blocks=4), small_regime(0.02, rounds=4, learning_rate=1e-7))
    assert found.layers == (0, 1, 2, 3)
    assert "not better than the control" in found.why


def test_a_set_that_is_larger_than_the_backbone_is_refused(planted_backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"selection.size = 5: must be at most 4"):
        select(planted_backbone, small_regime(), size=5)


def test_it_needs_rows() -> None:
    with pytest.raises(DataError, match=r"selection.data: missing"):
        find("selft").choose(Inputs(tuple(range(4)), SelectionSettings(selector="selft")))


def test_states_that_are_kept_change_nothing(planted_backbone: Backbone) -> None:
    losses = []
    for keep in (True, False):
        trials = Trials(
            planted_backbone.model, PLANTED_ADAPTER, small_regime(0.05), rows(8), rows(4, seed=1),
            batch=4, perturbations=2, seed=0, keep_states=keep,
        )  # fmt: skip
        effort = Effort(4, 1, 4)
        losses.append([trials.run(layers, effort).losses[0] for layers in ((1, 3), (2,), (3,), (1,), (0, 1))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_scores_of_blocks_tell_where_the_gradient_is(planted_backbone: Backbone) -> None:
    trials = Trials(
        planted_backbone.model, PLANTED_ADAPTER, small_regime(), rows(8), rows(4, seed=1),
        batch=4, perturbations=1, seed=0,
    )  # fmt: skip
    scores = trials.block_scores()
    assert scores[PLANTED] > 0.1
    assert sum(scores) == pytest.approx(scores[PLANTED])


def test_trials_are_given_no_site_and_no_ledger() -> None:
    """What a selector can reach, by type: nothing of it knows of a private record."""
    for whole in (Inputs, Trials, Regime):
        named = " ".join(map(str, inspect.get_annotations(whole.__init__).values()))
        assert not {"Site", "Workspace", "Ledger", "Transport", "Sources"} & set(
            named.replace(".", " ").split()
        )
