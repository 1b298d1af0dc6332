# SPDX-License-Identifier: Apache-2.0
"""A run by its method: a federation of private sites, or one of the references. Simulations only.

A reference leaves ``result.json`` with figures and scores, no adapter and no ledger: what it trained is no
release, and nothing of it may be published.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from fedpeft.baselines.alone import train_alone, train_apart
from fedpeft.baselines.beside import WATERMARK
from fedpeft.baselines.dp_forward import noise_inputs
from fedpeft.baselines.unprotected import Unprotected, train_unprotected
from fedpeft.config import RunConfig
from fedpeft.config.parties import ONE_PLACE, in_one_place
from fedpeft.data.records import Record
from fedpeft.data.sources import SourceRecords
from fedpeft.errors import ConfigError, together
from fedpeft.evaluation import Scores, compare_runs, summarize, summarize_runs
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.flower.simulation import Observer, simulate
from fedpeft.folder import RESULT_FILE, check_folder, prepare_folder
from fedpeft.methods.base import find
from fedpeft.plan import Plan, make_plan
from fedpeft.reporter import Silence
from fedpeft.result import load_anonymous_scores, peak_rss_mb, save_scores, versions
from fedpeft.run import evaluate_state, untouched_scores
from fedpeft.run_sources import Sources, read_sources
from fedpeft.shared import Shared
from fedpeft.stopwatch import Stopwatch
from fedpeft.types import JsonDict
from fedpeft.workspace import Workspace

SCORES_FOLDER: Final = "scores"
"""Of a reference: a folder of scores for each party that trained."""

Found = tuple[dict[str, Scores], JsonDict]
"""Scores by what was trained (one name, or every site's), and facts for the result."""


def run_method(
    config: RunConfig,
    out: Path,
    observer: Observer | None = None,
    *,
    sources: Sources | None = None,
    shared: Shared | None = None,
) -> JsonDict:
    """Carry out ``config`` as its method says; arguments and errors are those of ``simulate``.

    Returns:
        What ``result.json`` holds. ``epsilon`` is ``None`` where nothing is promised.
    """
    how = find(config.method).how
    if how == "rounds":
        return simulate(config, out, observer, sources=sources, shared=shared)
    watch, shared = Stopwatch(), shared or Shared()
    shared_now = shared
    plan, _, sources, _ = together(
        lambda: make_plan(config),
        lambda: check_folder(out),
        lambda: sources or read_sources(config, shared_now),
        lambda: _something_to_evaluate(config),
    )
    with Workspace(config, out, None, sources, shared) as workspace:
        prepare_folder(config, plan, out)
        records = workspace.records
        before = untouched_scores(workspace, observer or Silence())
        assert before is not None  # there is something to evaluate
        facts = _facts(workspace)
        if how in ("unprotected", "unprotected-pooled", "noised-inputs"):
            found = _without_noise_of_gradients(workspace, how, observer)
    if how in ("each-alone", "one-place"):
        found = _apart(config, out, sources, records, shared, observer)
    watch.lap("train", watch.started)
    result = _result(config, plan, before, found, facts, watch)
    _leave(out, before, found[0], result)
    return result


def scores_after(folder: Path) -> list[Scores]:
    """The scores that a run or a reference in ``folder`` left: one, or one for each site by itself."""
    parties = sorted((folder / SCORES_FOLDER).glob("*"))
    return [load_anonymous_scores(place)[1] for place in parties or [folder / CHECKPOINT_FOLDER]]


def _something_to_evaluate(config: RunConfig) -> None:
    if not config.evaluation.records:
        raise ConfigError(
            f'evaluation.records = 0: method = "{config.method}" leaves nothing but figures; evaluate some'
        )


def _without_noise_of_gradients(workspace: Workspace, how: str, observer: Observer | None) -> Found:
    if how == "noised-inputs":
        noise_inputs(workspace)
    kind: Unprotected = "pooled" if how == "unprotected-pooled" else "federated"
    state = train_unprotected(workspace, kind)
    after = evaluate_state(workspace, state, "after", observer or Silence())
    assert after is not None
    rounds = workspace.config.federation.rounds
    return {kind: after}, {"rounds_completed": rounds, "stopped_because": "completed"}


def _apart(
    config: RunConfig,
    out: Path,
    sources: Sources,
    records: Sequence[Record],
    shared: Shared,
    observer: Observer | None,
) -> Found:
    """Private runs of one site each, with their epsilons."""
    if find(config.method).how == "one-place":
        everything = [record for own in sources.sites.records.values() for record in own]
        one = Sources(SourceRecords({ONE_PLACE: everything}, sources.sites.provenance), list(records))
        trains = {ONE_PLACE: partial(train_apart, in_one_place(config), out, one, shared, observer)}
    else:
        trains = {
            site.name: partial(
                train_alone, config, site.name, out,
                sources=sources, records=records, shared=shared, observer=observer,
            )
            for site in config.sites
        }  # fmt: skip
    scores, by_site = {}, {}
    for name, train in trains.items():
        scores[name], by_site[name] = train()
    return scores, {
        "rounds_completed": min(facts["rounds_completed"] for facts in by_site.values()),
        "stopped_because": next(iter(by_site.values()))["stopped_because"],
        "by_site": by_site,
    }


def _facts(workspace: Workspace) -> JsonDict:
    return {
        "backbone": workspace.backbone.name,
        "backbone_digest": workspace.backbone.digest,
        "trainable_parameters": workspace.adapter.layout.size,
        "trainable_percent": 100 * workspace.adapter.layout.size / workspace.num_parameters,
        "data": workspace.provenance,
    }


def _result(
    config: RunConfig, plan: Plan, before: Scores, found: Found, facts: JsonDict, watch: Stopwatch
) -> JsonDict:
    scores, how_it_ended = found
    runs = list(scores.values())
    figures: dict[str, Any] = {
        "before": summarize(before),
        "after": summarize_runs(runs),
        "difference": compare_runs([before], runs),
        "records": len(before.ids),
        "labels": list(config.evaluation.labels),
        "privacy": "on records declared public"
        if config.evaluation.public
        else "NOT PRIVATE: exact on held-out records",
        "private": None,
    }
    promised = plan.to_json()
    return {
        "method": config.method,
        "method_sets": plan.method,
        "guarantee": plan.guarantee,
        "watermark": WATERMARK,
        "epsilon": promised["epsilon"],
        "epsilon_spent": promised["epsilon"],  # each run by itself committed to all of it
        "delta": promised["delta"],
        "unit": plan.unit,
        "noise_multiplier_by_site": {site["name"]: site["noise_multiplier"] for site in promised["sites"]},
        "sites": [site.name for site in config.sites],
        **facts,
        **how_it_ended,
        "metrics": figures,
        "warnings": list(plan.warnings),
        "selection": None,
        "seed": config.run.seed,
        "seconds": watch.to_json(),
        "peak_rss_mb": peak_rss_mb(),
        "bytes_up": 0,
        "bytes_down": 0,
        "versions": versions(),
    }


def _leave(out: Path, before: Scores, scores: dict[str, Scores], result: JsonDict) -> None:
    """Scores for their owner's eyes, and the result last."""
    for name, after in scores.items():
        folder = out / SCORES_FOLDER / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_scores(folder, before, after)
    path = out / RESULT_FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
