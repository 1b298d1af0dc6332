# SPDX-License-Identifier: Apache-2.0
"""The keys of the stages before and after training and of this machine, like ``fedpeft.settings``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedpeft.settings import Count, FilePath, Section, Text


class SynthesisSettings(Section):
    """Synthetic data that the coordinator holds before training begins."""

    generator: Text | None = None
    """`pool`: rows of a public pool, in proportions that the sites' noised votes set. `public`: rows of the
    pool as they are, which asks the sites for nothing. `generator`: pairs that the backbone writes, after the
    sites taught it to in private rounds of its own. Default: no synthetic data."""
    path: FilePath | None = None
    """The pool, a public file with the columns of [data], .csv, .parquet or else jsonl; default: a bundled
    one of everyday tasks, made from templates."""
    size: Annotated[int, Field(ge=2, le=1_000_000)] = 1024
    """Synthetic rows to make."""
    epsilon_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of epsilon that the votes, or the steps of the `generator`, may cost by themselves. Composed with
    the run's steps they cost less."""
    bins: Annotated[int, Field(ge=2, le=4096)] = 64
    """Groups of similar candidates that sites vote for; the fewer, the clearer the votes."""
    neighbours: Annotated[int, Field(ge=1, le=64)] = 1
    """Bins that each record votes for."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Public seed of the bins, of the choice of rows and of what is written. It is not a secret and needs no
    entropy."""
    written: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Of `pool` and `public`: candidates that the backbone writes itself from public prompts, beside those of
    the pool. On a CPU this takes a while."""
    tasks: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Public names of what the backbone writes about, in equal parts; a `generator` is taught about records
    of other tasks without a name. Default: about anything."""
    rounds: Count = 8
    """Of `generator`: rounds of its training, each of `training.local_steps` steps, before those of
    `federation.rounds`."""


class SelectionSettings(Section):
    """Which blocks are trained, chosen before the first round.

    Votes of the sites cost a share of epsilon; all else looks at public or synthetic rows, at no cost.
    """

    selector: Text | None = None
    """Which of the blocks that `adapter.layers` names are trained; default: those. `all`: the same, as a
    control. `last-k`, `random-k`: that many. `rotating`: that many at a time, in turn. `selft`: sets of
    blocks are trained for a while on public or synthetic rows under the noise of the run, and ranked
    (DP-SelFT). `vote`: the sites' records vote, once, for a share of epsilon."""
    size: Literal["auto"] | Count = "auto"
    """Number of blocks. `auto`: a quarter of those of `adapter.layers`; with `selft`, whatever is best."""
    period: Count = 1
    """Of `rotating`: rounds after which other blocks have their turn."""
    epsilon_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of `vote`: share of epsilon that the votes may cost by themselves; composed with the steps they cost
    much less."""
    vote_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of `vote`: share of each site's units that vote, chosen by a hash of each. Fewer cost less time, and
    are told less clearly from noise."""
    data: FilePath | None = None
    """Public rows with the columns of [data], .csv, .parquet or else jsonl; or a folder of synthetic data and
    its certificate."""
    lineage: Text | None = None
    """Column of a public file whose equal values mark rows of one origin, which are never parted into rows to
    train and rows to score; default: rows of like text are one."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Public; of everything that is drawn here."""
    candidates: Annotated[int, Field(ge=4, le=4096)] = 64
    """Of `selft`: sets to try, of which a quarter goes on to twice the steps, and again."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 16
    """Of `selft`: most private steps of a trial, never more than the run's own."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Rows of a trial's step; its noise is that of the run's batch all the same."""
    seeds: Annotated[int, Field(ge=2, le=100)] = 3
    """Of `selft`: repetitions of each of the last trials, which tell chance from merit."""
    perturbations: Annotated[int, Field(ge=1, le=64)] = 4
    """Of `selft`: how many adapters moved by noise are tried at each step and for each score, of which the
    worst counts."""
    warm_start: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Steps without noise on all rows of `data`, or else of those that the run made, before the first round;
    reported apart. 0 begins at the backbone as it is."""
    allocation_start: bool = False
    """Let `privacy.allocation` begin at what the gradients of these rows tell of the segments; reported
    apart."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the rows to score on, whole lineages."""


class EvaluationSettings(Section):
    """Ranking accuracy, token accuracy and perplexity, before and after."""

    path: FilePath | None = None
    """A public file with the columns of [data], .csv, .parquet or else jsonl; default: the held-out units."""
    public: bool = False
    """Declares the evaluation records public. Otherwise exact metrics are marked NOT PRIVATE."""
    records: Annotated[int, Field(ge=0)] = 200
    """Most records to evaluate, chosen by a hash; 0 evaluates nothing."""
    every: Annotated[int, Field(ge=0)] = 0
    """Rounds from one evaluation of the adapter on its way to the next, for learning curves; 0 evaluates
    before and after only."""
    labels: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """All responses that there are, where there are few: each record is ranked against all others of them,
    so that ranking accuracy is label accuracy. Default: against three responses of its task."""
    private: bool = False
    """Ask each site after the rounds, and pay, for the noised number of its held-out units that are ranked
    rightly. What they are ranked against is public: `labels`, or the responses of `path`, declared public."""
    private_before: bool = False
    """Ask the same about the untouched backbone, for as much again."""
    epsilon_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Of `private`: what the noise of these counts alone would cost, as a share of epsilon. Composed with the
    steps it raises their noise by far less."""


class RunSettings(Section):
    """This machine and this run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Makes a simulation reproducible and forfeits its guarantee."""
    threads: Count | None = None
    """CPU threads; default: what `OMP_NUM_THREADS` says, or else all cores."""
    tensorboard: bool = False
    """Keep curves for TensorBoard in `tensorboard/` of the run's folder, of what has left the sites only;
    needs the extra `tensorboard`."""
