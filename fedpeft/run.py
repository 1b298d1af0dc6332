# SPDX-License-Identifier: Apache-2.0
"""A configuration becomes a run: plan, evaluate, rounds, evaluate, export, result - in this order."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from time import monotonic

from fedpeft.adapters.peft_format import export_peft
from fedpeft.aggregation.products import maker_of
from fedpeft.aggregation.server_optimizer import make_server_optimizer
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.allocation_start import allocation_start
from fedpeft.checkpoint import Checkpoint
from fedpeft.config import RunConfig
from fedpeft.config.presets import refuse_reference
from fedpeft.curve import Curve
from fedpeft.errors import ConfigError
from fedpeft.evaluation import Scores, evaluate, summarize
from fedpeft.federation import CHECKPOINT_FOLDER, Outcome, RoundPlan, run_rounds
from fedpeft.folder import RESULT_FILE
from fedpeft.layer_choice import read_choice, rounds_of
from fedpeft.model_card import write_card
from fedpeft.parts import parts_of
from fedpeft.plan import Plan, make_plan
from fedpeft.privacy.allocation.allocator import Allocator
from fedpeft.privacy.metric import EvaluatingTransport
from fedpeft.private_evaluation import Lenient, evaluate_privately
from fedpeft.reporter import Reporter, Silence
from fedpeft.result import make_result, save_scores, scores_from_json, scores_to_json
from fedpeft.shared import content_digest
from fedpeft.spending import Spending
from fedpeft.stages import begin, scheduler
from fedpeft.stopwatch import Stopwatch
from fedpeft.tracker import check_tracker, tracking
from fedpeft.training.learning_rate import learning_rates
from fedpeft.types import FloatVector, JsonDict, Transport
from fedpeft.warm_start import Start, warm_start
from fedpeft.workspace import Workspace

ADAPTER_FOLDER = "adapter"
UNTOUCHED = "scores of the untouched backbone"
"""The kind under which runs share the scores before the first round."""

_log = logging.getLogger(__name__)


def conduct(
    workspace: Workspace,
    plan: Plan,
    transport: EvaluatingTransport,
    *,
    checkpoint: Checkpoint | None = None,
    reporter: Reporter | None = None,
    watch: Stopwatch | None = None,
) -> JsonDict:
    """The coordinator's part of a run, over whatever transport: returns and writes ``result.json``.

    Args:
        workspace: for evaluation and export; its sites are reached through ``transport`` only.
        plan: of the run.
        transport: reaches the sites.
        checkpoint: to go on from.
        reporter: hears of progress.
        watch: started before this call, to count what came before.

    Raises:
        ConfigError: the blocks to train were to be chosen, and were not.
        FedpeftError: the run cannot go on; what is complete is in the checkpoint.
    """
    _check_choice(workspace)
    settings, public = workspace.config.run, workspace.config.evaluation.public
    with tracking(settings, workspace.out, reporter or Silence(), keep_scores=public) as heard:
        return _conduct(workspace, plan, transport, checkpoint, heard, watch or Stopwatch())


def _conduct(
    workspace: Workspace,
    plan: Plan,
    transport: EvaluatingTransport,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    watch: Stopwatch,
) -> JsonDict:
    config = workspace.config
    curve = Curve(workspace.out, config.evaluation, config.federation.rounds, reporter)
    since = monotonic()
    if checkpoint is None:
        begun = begin(workspace, plan, transport)
        if config.synthesis.generator is not None:
            since = watch.lap("synthesis", since)
        before = untouched_scores(workspace, reporter)
        curve.add(0, before)
        metrics = {} if before is None else {"scores": scores_to_json(before), "summary": summarize(before)}
        start = _start(workspace, reporter)
        metrics |= {} if start.facts is None else {"warm_start": start.facts}
        checkpoint = Checkpoint.fresh(begun.run_id, start.vector, metrics, begun.schedules, begun.events)
    else:
        scores = checkpoint.metrics_before.get("scores")
        ids = [record.id for record in workspace.records]
        before = scores_from_json(scores, ids, workspace.out) if scores else None
    workspace.public_start = allocation_start(workspace)
    since = watch.lap("evaluate", since)
    outcome = _rounds(workspace, plan, Lenient(transport), checkpoint, reporter, curve, watch)
    since = watch.lap("rounds", since)
    state = outcome.state.released(averaged=config.federation.average_iterates)
    private, outcome = _evaluate_privately(workspace, transport, outcome, state)
    after = evaluate_state(workspace, state, "after", reporter)
    curve.add(outcome.state.rounds_completed, after)
    since = watch.lap("evaluate", since)
    save_scores(workspace.out / CHECKPOINT_FOLDER, before, after)
    workspace.adapter.load(state)
    export_peft(workspace.adapter, workspace.out / ADAPTER_FOLDER, workspace.backbone.name)
    watch.lap("export", since)
    result = make_result(workspace, plan, outcome, before, after, private, _seconds(watch, outcome))
    write_card(config, result, workspace.out / ADAPTER_FOLDER)
    _write_atomically(workspace.out / RESULT_FILE, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def _check_choice(workspace: Workspace) -> None:
    """Parties that make the adapter by themselves know nothing of a choice; theirs would be another."""
    selector = workspace.config.selection.selector
    if selector is not None and read_choice(workspace.out) is None:
        raise ConfigError(
            f'selection.selector = "{selector}": nothing was chosen for this run; run `fedpeft select` and '
            "give its blocks as adapter.layers, or use `fedpeft simulate`"
        )


def _start(workspace: Workspace, reporter: Reporter) -> Start:
    """Where the rounds begin, with an evaluation of its own where that is no update of zero."""
    start = warm_start(workspace)
    if start.facts is None:
        return start
    scores = evaluate_state(workspace, start.vector, "warm start", reporter)
    return replace(start, facts=start.facts | {"metrics": None if scores is None else summarize(scores)})


def _rounds(
    workspace: Workspace,
    plan: Plan,
    transport: Transport,
    checkpoint: Checkpoint,
    reporter: Reporter,
    curve: Curve,
    watch: Stopwatch,
) -> Outcome:
    config = workspace.config

    def on_round(state: Checkpoint) -> None:
        done, record = state.rounds_completed, state.records[-1]
        reporter.round_done(done, config.federation.rounds, record, record["epsilon_spent"])
        if curve.is_due(done):
            since, adapter = monotonic(), state.released(averaged=config.federation.average_iterates)
            curve.add(done, evaluate_state(workspace, adapter, f"after round {done}", reporter))
            watch.lap("curve", since)

    return run_rounds(
        transport,
        RoundPlan(
            local_steps=config.training.local_steps,
            learning_rates=learning_rates(config.training, config.federation.rounds),
            allocator=Allocator.of(
                config.privacy, plan.layout, workspace.public_start, rounds_of(workspace.out)
            ),
            smoother=Smoother(plan.layout, config.federation.layer_smoothing),
            clipping=config.privacy.clipping,
            layout_digest=workspace.adapter.digest,
            num_sites=len(plan.sites),
            min_sites=config.federation.min_sites or len(plan.sites),
            deadline_s=config.federation.deadline_s,
            ask_again_s=config.ask_again_s,
            task_weights=config.task_weights,
            wire_type=config.federation.wire_type,
            spent=Spending(plan.delta).record,
            first=plan.steps_before // config.training.local_steps,
            parts=parts_of(config, workspace.adapter),
        ),
        checkpoint,
        schedule=scheduler(config, plan, checkpoint.run_id),
        new_aggregator=maker_of(config.federation.aggregation, workspace.adapter),
        optimizer=make_server_optimizer(config.federation),
        folder=workspace.out,
        on_round=on_round,
    )


def _evaluate_privately(
    workspace: Workspace, transport: EvaluatingTransport, outcome: Outcome, state: FloatVector
) -> tuple[JsonDict | None, Outcome]:
    """What the sites say, for noise and a price, about the state that is exported; ``None`` if not asked."""
    config = workspace.config
    if not config.evaluation.private:
        return None, outcome
    before = {"before": workspace.adapter.zeros()} if config.evaluation.private_before else {}
    digest, deadline_s = workspace.adapter.digest, config.federation.deadline_s
    states = before | {"after": state}
    return evaluate_privately(transport, outcome, states, digest, deadline_s, config.ask_again_s)


def untouched_facts(workspace: Workspace) -> object:
    """Everything that the scores of the backbone without an adapter's update depend on."""
    config, digest = workspace.config, content_digest(workspace.records)
    return (config.model, workspace.backbone.digest, config.data, config.evaluation.labels, digest)


def untouched_scores(workspace: Workspace, reporter: Reporter) -> Scores | None:
    """Of the records to evaluate before the first round, made once for all runs that share them."""
    return workspace.shared.once(
        UNTOUCHED,
        untouched_facts(workspace),
        lambda: evaluate_state(workspace, workspace.adapter.zeros(), "before", reporter),
    )


def evaluate_state(workspace: Workspace, state: FloatVector, label: str, reporter: Reporter) -> Scores | None:
    """The scores of the records to evaluate under an adapter's state; ``None`` if there are no records."""
    if not workspace.records:
        return None
    with workspace.lock:
        workspace.adapter.load(state)
        return evaluate(
            workspace.model,
            workspace.prompter,
            workspace.records,
            device=workspace.backbone.device,
            labels=workspace.config.evaluation.labels,
            progress=lambda done, total: reporter.evaluating(label, done, total),
            prefix=workspace.prefix,
        )


def _seconds(watch: Stopwatch, outcome: Outcome) -> dict[str, float]:
    """By stage; ``train`` and ``aggregate`` are sums over rounds, ``accounting`` what is left of them."""
    seconds = watch.to_json()
    records = outcome.state.records
    seconds["train"] = sum(record["seconds"]["train"] for record in records)
    seconds["aggregate"] = sum(record["seconds"]["aggregate"] for record in records)
    curve = seconds.pop("curve", 0.0)  # within the rounds, and no accounting
    seconds["evaluate"] += curve
    seconds["accounting"] = max(0.0, seconds.pop("rounds") - curve - seconds["train"] - seconds["aggregate"])
    return seconds


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def plan_of(config: RunConfig) -> Plan:
    """The plan of ``config``, its warnings logged; raises ``ConfigError`` where its method is a reference."""
    refuse_reference(config)
    check_tracker(config.run)
    for warning in (plan := make_plan(config)).warnings:
        _log.warning("%s", warning)
    return plan
