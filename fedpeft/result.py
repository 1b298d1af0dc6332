# SPDX-License-Identifier: Apache-2.0
"""``result.json``: what a run found and what it cost, for people and programs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedpeft.curve import privacy_of
from fedpeft.errors import RunDirectoryError
from fedpeft.evaluation import Scores, compare, summarize
from fedpeft.federation import Outcome
from fedpeft.guarantee import site_epsilons
from fedpeft.layer_choice import read_choice
from fedpeft.plan import Plan
from fedpeft.privacy.clipping import FROZEN_SCALE
from fedpeft.spending import spent_by_site
from fedpeft.stage_settings import EvaluationSettings
from fedpeft.types import JsonDict
from fedpeft.workspace import Workspace

SCORES_FILE = "scores.json"
_SCORE_TYPES: Final[dict[str, type[np.generic]]] = {
    "num_tokens": np.int64,
    "num_correct": np.int64,
    "log_likelihood": np.float64,
    "is_ranked": np.bool_,
    "is_first": np.bool_,
}
_LIBRARIES = ("fedpeft", "flwr", "torch", "transformers", "peft", "opacus", "dp-accounting")


def make_result(
    workspace: Workspace,
    plan: Plan,
    outcome: Outcome,
    before: Scores | None,
    after: Scores | None,
    private: JsonDict | None,
    seconds: Mapping[str, float],
) -> JsonDict:
    """Everything ``result.json`` holds."""
    config = workspace.config
    records = outcome.state.records
    spent = spent_by_site(outcome.events, plan.delta)
    caps = site_epsilons(config)
    return {
        "backbone": workspace.backbone.name,
        "backbone_digest": workspace.backbone.digest,
        "run_id": outcome.state.run_id,
        "method": config.method,
        "method_sets": plan.method,
        "sites": [site.name for site in config.sites],
        "left_out": outcome.left_out,
        "rounds_completed": outcome.state.rounds_completed,
        "stopped_because": outcome.stopped_because,
        "stopped_detail": outcome.detail,
        "trainable_parameters": plan.layout.size,
        "trainable_percent": 100 * plan.layout.size / workspace.num_parameters,
        "epsilon": max(caps.values()),
        "epsilon_spent": max(spent.values(), default=0.0),
        "epsilon_by_site": caps,
        "epsilon_spent_by_site": spent,
        "epsilon_by_task": plan.epsilon_by_task,
        "allocation_start": start.source if (start := workspace.public_start) else None,
        "noise_multiplier_by_site": _noise_multipliers(plan, outcome),
        "noise_by_segment": _noise_by_segment(plan, outcome),
        "delta": plan.delta,
        "unit": plan.unit,
        "guarantee": plan.guarantee,
        "warnings": list(plan.warnings),
        "ledger_scope": "organization" if config.data.source == "sites" else "run",
        "metrics": _metrics(config.evaluation, before, after) | {"private": private},
        "share_truncated": _share_truncated(workspace),
        "data": workspace.provenance,
        "selection": _selection(workspace.out),
        "warm_start": outcome.state.metrics_before.get("warm_start"),
        "seed": config.run.seed,
        "seconds": dict(seconds),
        "peak_rss_mb": peak_rss_mb(),
        "bytes_up": sum(record["bytes_up"] for record in records),
        "bytes_down": sum(record["bytes_down"] for record in records),
        "versions": versions(),
    }


def _noise_multipliers(plan: Plan, outcome: Outcome) -> dict[str, float]:
    """The least of each site's schedule; as planned where none was asked."""
    planned = {site.name: site.noise_multiplier for site in plan.sites}
    schedules = outcome.state.schedules
    return planned | {name: min(m for m, _ in schedule.parts) for name, schedule in schedules.items()}


def _noise_by_segment(plan: Plan, outcome: Outcome) -> list[JsonDict]:
    """What the allocation had come to after the last round; b_s is ``None`` where a segment is frozen."""
    scales = outcome.state.scales or (None,) * len(plan.layout.segments)
    return [
        {
            "name": segment.name,
            "block": segment.block,
            "module": segment.module,
            "size": segment.size,
            "scale": None if scale is None or scale >= FROZEN_SCALE else scale,
        }
        for segment, scale in zip(plan.layout.segments, scales, strict=True)
    ]


def scores_to_json(scores: Scores) -> JsonDict:
    """Scores as lists, so that a resumed run can pair its records with those before the first round.

    Records are named by a hash of all their ids together: ids may be private.
    """
    lists = {name: np.asarray(getattr(scores, name)).tolist() for name in _SCORE_TYPES}
    return lists | {"ids": _hash_of(scores.ids)}


def scores_from_json(data: JsonDict, ids: Sequence[str], folder: Path) -> Scores:
    """What ``scores_to_json`` made of the records ``ids``.

    Raises:
        RunDirectoryError: the checkpoint in ``folder`` lacks them, or is about other records.
    """
    try:
        arrays, same = _arrays(data), data["ids"] == _hash_of(ids)
    except KeyError as error:
        raise RunDirectoryError(
            f"{folder}: the checkpoint lacks {error} of the evaluation; start a new run"
        ) from error
    if not same:
        raise RunDirectoryError(
            f"{folder}: the records to evaluate are not those of the run's beginning; restore the data"
        )
    return Scores(ids=tuple(ids), **arrays)


def anonymous_scores(data: JsonDict) -> Scores:
    """What ``scores_to_json`` made, where the ids are not at hand: places in their hash stand for them."""
    arrays = _arrays(data)
    return Scores(ids=tuple(f"{data['ids']} {i}" for i in range(len(arrays["num_tokens"]))), **arrays)


def _arrays(data: JsonDict) -> dict[str, Any]:
    return {name: np.array(data[name], dtype=kind) for name, kind in _SCORE_TYPES.items()}


def save_scores(folder: Path, before: Scores | None, after: Scores | None) -> None:
    """Leave the scores of single records in ``folder``, for their owner alone, to pair other runs with."""
    path = folder / SCORES_FILE
    folder.mkdir(parents=True, exist_ok=True)  # a run that nobody came to has no checkpoint
    path.unlink(missing_ok=True)
    if before is None or after is None:
        return
    path.touch(mode=0o600)
    path.write_text(json.dumps({"before": scores_to_json(before), "after": scores_to_json(after)}), "utf-8")


def load_scores(folder: Path, ids: Sequence[str]) -> tuple[Scores, Scores]:
    """What ``save_scores`` left of the records ``ids``: before and after.

    Raises:
        RunDirectoryError: nothing is there, or it is about other records.
    """
    data = _saved(folder)
    before, after = (scores_from_json(data[name], ids, folder) for name in ("before", "after"))
    return before, after


def load_anonymous_scores(folder: Path) -> tuple[Scores, Scores]:
    """As ``load_scores``, where the ids are not at hand.

    Raises:
        RunDirectoryError: nothing is there.
    """
    data = _saved(folder)
    return anonymous_scores(data["before"]), anonymous_scores(data["after"])


def _saved(folder: Path) -> JsonDict:
    try:
        data: JsonDict = json.loads((folder / SCORES_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"{folder / SCORES_FILE}: cannot be read, so nothing can be compared with this run; run it again"
        ) from error
    return data


def _hash_of(ids: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of the libraries that a result depends on."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _LIBRARIES
    }


def peak_rss_mb() -> float:
    """The most memory this process has had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _selection(out: Path) -> JsonDict | None:
    """How the blocks were chosen, where a stage chose them; the candidates are in its own file."""
    found = read_choice(out)
    return None if found is None else {name: found[name] for name in ("selector", "layers", "why", "seconds")}


def _metrics(evaluation: EvaluationSettings, before: Scores | None, after: Scores | None) -> JsonDict:
    if before is None or after is None:
        return {
            "before": None,
            "after": None,
            "difference": None,
            "records": 0,
            "privacy": "nothing evaluated",
        }
    return {
        "before": summarize(before),
        "after": summarize(after),
        "difference": compare(before, after),
        "records": len(before.ids),
        "ranked_records": int(before.is_ranked.sum()),
        "labels": list(evaluation.labels),
        "privacy": privacy_of(evaluation),
    }


def _share_truncated(workspace: Workspace) -> JsonDict:
    """Of the evaluated records where they are declared public, and of the sites' where docstrings are.

    What share of private training records was cut is a statistic of them, and stays in the sites' own log.
    """
    shares: JsonDict = {}
    if workspace.config.evaluation.public and workspace.records:
        cut = [
            workspace.prompter.encode(record.instruction, record.response, record.before).truncated
            for record in workspace.records
        ]
        shares["evaluation"] = sum(cut) / len(cut)
    if workspace.config.data.source == "docstrings":
        shares["sites"] = {name: data.share_truncated for name, data in workspace.data.items()}
    return shares
