# SPDX-License-Identifier: Apache-2.0
"""What a run may reach, before any budget is spent: its training on public or synthetic rows, noise and all.

The run is played as it is configured - adapter, rounds, learning rates, server, and the noise that each
epsilon asks for - on rows that may be looked at, and scored on others of them. A batch has fewer rows than
the run's, and public rows are not the sites': what is forecast is how much noise costs, more than the figure
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from time import monotonic
from typing import Final

from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import RunConfig
from fedpeft.data.prompts import Prompter
from fedpeft.data.records import Record
from fedpeft.evaluation import Scores, choose_records, compare_runs, evaluate, summarize, summarize_runs
from fedpeft.layer_choice import SplitRows, regime_of
from fedpeft.plan import Plan, make_plan
from fedpeft.selection.base import Progress
from fedpeft.selection.descent import Descent
from fedpeft.selection.regime import Regime
from fedpeft.selection.rows import encode
from fedpeft.selection.trials import Trials, standard_error
from fedpeft.speed import loss_of
from fedpeft.types import JsonDict

EPSILONS: Final = (1.0, 2.0, 4.0, 8.0)
MOST_RECORDS: Final = 100
"""Rows that are scored; more cost time and tell little more."""

_CAVEAT: Final = (
    "on public or synthetic rows, which are not the sites'; intervals cover seeds and the choice of rows, "
    "not that difference"
)


def at_epsilon(config: RunConfig, epsilon: float) -> RunConfig:
    """The same run at another epsilon; a site whose own bound is lower keeps it."""
    privacy = config.privacy.model_copy(update={"epsilon": epsilon})
    sites = tuple(
        site if site.epsilon is None else site.model_copy(update={"epsilon": min(site.epsilon, epsilon)})
        for site in config.sites
    )
    return config.model_copy(update={"privacy": privacy, "sites": sites})


def blocks_of(plan: Plan) -> tuple[int, ...]:
    """The blocks that a planned run trains."""
    return plan.layout.blocks


def make_trials(
    config: RunConfig, regime: Regime, rows: SplitRows, backbone: Backbone, perturbations: int = 0
) -> Trials:
    """Training on the rows under ``regime``, with the adapter of ``config``.

    Noise is the same in all segments, unless the run's allocation begins at what rows tell of them.
    """
    prompter, settings = Prompter.of(backbone.tokenizer, config.data), config.selection
    return Trials(
        backbone.model,
        config.adapter,
        regime,
        encode(rows.split.train, prompter),
        encode(rows.split.validation, prompter),
        batch=settings.batch,
        perturbations=perturbations,
        seed=settings.seed,
        allocation=config.privacy if config.selection.allocation_start else None,
        how=loss_of(config, backbone),
    )


def forecast(
    config: RunConfig,
    rows: SplitRows,
    epsilons: Sequence[float] = EPSILONS,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
) -> JsonDict:
    """Play the run at each epsilon, ``selection.seeds`` times.

    Args:
        config: of the run.
        rows: public or synthetic.
        epsilons: of the whole run, delta as configured.
        progress: hears of rounds.
        backbone: default: loaded now.

    Returns:
        For machines: ``before`` without an adapter, and for each epsilon the noise, the mean loss of a row
        over seeds with its standard error, and the figures of an evaluation with intervals.

    Raises:
        UserError: backbone or rows cannot be used, or an epsilon cannot be reached.
    """
    began, seeds = monotonic(), config.selection.seeds
    planned = [(epsilon, at_epsilon(config, epsilon)) for epsilon in epsilons]
    plans = [make_plan(some) for _, some in planned]
    backbone = backbone or load_backbone(config.model)
    judge = _Judge(config, rows, backbone)
    total = len(planned) * seeds * config.federation.rounds
    counter = _Counter(progress, total)
    before, found = None, []
    for (epsilon, some), plan in zip(planned, plans, strict=True):
        trials = make_trials(some, regime_of(some, plan), rows, backbone)
        with trials.descent(blocks_of(plan), regime_of(some, plan)) as descent:
            before = before or judge.scores(descent, None)
            runs = [judge.scores(descent, (trials, number, counter)) for number in range(seeds)]
        found.append({"epsilon": epsilon, **_noise(plan), **_figures(before, runs)})
    assert before is not None  # there is at least one epsilon
    return {
        "rows": rows.to_json(),
        "records": len(judge.records),
        "seeds": seeds,
        "batch": config.selection.batch,
        "rounds": config.federation.rounds,
        "before": {"loss": _loss(before), **summarize(before)},
        "epsilons": found,
        "seconds": monotonic() - began,
        "caveat": _CAVEAT,
        "privacy": "no private record was looked at; nothing was charged",
    }


@dataclass(slots=True)
class _Counter:
    """Tells how many rounds are done over everything."""

    progress: Progress | None
    total: int
    done: int = 0

    def __call__(self, _round: int) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress("forecast: rounds", self.done, self.total)


class _Judge:
    """Scores adapters on the validation rows."""

    def __init__(self, config: RunConfig, rows: SplitRows, backbone: Backbone) -> None:
        self.records: list[Record] = choose_records(rows.split.validation, MOST_RECORDS)
        labels = config.evaluation.labels
        self._labels = labels if all(record.response in labels for record in self.records) else ()
        self._prompter = Prompter.of(backbone.tokenizer, config.data)
        self._backbone = backbone

    def scores(self, descent: Descent, training: tuple[Trials, int, _Counter] | None) -> Scores:
        """Of the untouched backbone, or after a training."""
        vector = descent.adapter.zeros()
        if training is not None:
            trials, number, counter = training
            vector = trials.train(descent, number, counter)
        descent.adapter.load(vector)
        return evaluate(
            self._backbone.model,
            self._prompter,
            self.records,
            device=self._backbone.device,
            labels=self._labels,
        )


def _noise(plan: Plan) -> JsonDict:
    return {
        "noise_multiplier": max(site.noise_multiplier for site in plan.sites),
        "signal_over_noise": plan.signal_over_noise,
    }


def _figures(before: Scores, runs: Sequence[Scores]) -> JsonDict:
    losses = [_loss(run) for run in runs]
    return {
        "loss": fmean(losses),
        "loss_standard_error": standard_error(losses),
        "losses": losses,
        "figures": summarize_runs(runs),
        "difference": compare_runs([before], runs),
    }


def _loss(scores: Scores) -> float:
    """Mean over rows of the mean over a row's response tokens, as training has it."""
    return float((-scores.log_likelihood / scores.num_tokens).mean())
