# SPDX-License-Identifier: Apache-2.0
"""The coordinator's part of a private evaluation: ask the sites that committed to it, put counts together.

The counts were committed to with the steps of the run, before the first. Which states are asked about is
public, so the untouched backbone can be asked about at the end as well.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from fedpeft.federation import Outcome
from fedpeft.privacy.metric import EvaluateRequest, EvaluatingTransport, MetricAnswer, PrivateMetric
from fedpeft.types import FloatVector, JsonDict, PrivacyEvent, RefusalCode, Schedule

_log = logging.getLogger(__name__)

_TRIES: Final = 6
_NORMAL_95: Final = 1.959964
STAGE: Final = EvaluateRequest.stage


class Lenient:
    """A transport under which a site that forbids evaluation takes part in the rounds without it.

    What a site refuses with evaluations it is asked for without them, at the same noise: that costs less.
    """

    def __init__(self, inner: EvaluatingTransport) -> None:
        """Wrap ``inner``."""
        self.describe = inner.describe
        self.train = inner.train
        self._commit = inner.commit

    def commit(
        self, schedules: Mapping[str, Schedule], deadline_s: float
    ) -> Mapping[str, RefusalCode | None]:
        """Ask each site to commit; again without evaluations where the answer is ``POLICY`` or ``REPLAY``."""
        replies = dict(self._commit(schedules, deadline_s))
        # A run that goes on meets the shorter schedule that it committed before: REPLAY.
        codes = (RefusalCode.POLICY, RefusalCode.REPLAY)
        without = {
            site: replace(schedules[site], votes=_others(schedules[site]))
            for site, code in replies.items()
            if code in codes and _others(schedules[site]) != schedules[site].votes
        }
        return replies | dict(self._commit(without, deadline_s)) if without else replies


def evaluate_privately(
    transport: EvaluatingTransport,
    outcome: Outcome,
    states: Mapping[str, FloatVector],
    layout_digest: str,
    deadline_s: float,
    ask_again_s: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[JsonDict, Outcome]:
    """Ask about each state; what it cost joins the events of the outcome.

    Args:
        transport: of the run.
        outcome: of its rounds.
        states: ``(d,)`` adapters by name (``"before"``, ``"after"``).
        layout_digest: of the adapter.
        deadline_s: of an exchange.
        ask_again_s: sites that are not reached are asked the same a few times more, so long apart; 0: never.
        sleep: waits.

    Returns:
        For ``result.json``, by the names of the states; and the outcome.
    """
    found: JsonDict = {}
    units = {site: schedule.unit for site, schedule in outcome.state.schedules.items()}
    for name, state in states.items():
        requests = _requests(outcome, name, state, layout_digest)
        metrics: dict[str, PrivateMetric] = {}
        refused: dict[str, str] = {}
        asked = _asked(transport, requests, deadline_s, ask_again_s, sleep)
        for site, answer in asked.items():
            if isinstance(answer, RefusalCode):
                refused[site] = answer.value
            elif (problem := _problem(requests[site], answer, units[site])) is not None:
                refused[site] = problem
            else:
                metrics[site] = answer
        missing = dict.fromkeys(set(requests) - set(metrics) - set(refused), "no answer")
        found[name] = summarize(metrics) | {"without": refused | missing}
        outcome = _with_costs(outcome, metrics)
    return found, outcome


def _asked(
    transport: EvaluatingTransport,
    requests: Mapping[str, EvaluateRequest],
    deadline_s: float,
    ask_again_s: float,
    sleep: Callable[[float], None],
) -> dict[str, MetricAnswer]:
    """The last answer of each site that gave one; all have paid already, so short absences are waited for."""
    answers: dict[str, MetricAnswer] = {}
    wanted, since = dict(requests), time.monotonic()
    for tries_left in reversed(range(_TRIES if ask_again_s else 1)):
        left_s = deadline_s - (time.monotonic() - since)
        answers |= dict(transport.evaluate(wanted, left_s))
        absent = (None, RefusalCode.UNAVAILABLE)
        wanted = {site: request for site, request in requests.items() if answers.get(site) in absent}
        if not wanted or not tries_left or time.monotonic() - since + ask_again_s >= deadline_s:
            break
        sleep(ask_again_s)
    return answers


def summarize(metrics: Mapping[str, PrivateMetric]) -> JsonDict:
    """Accuracy over all sites and of each, out of declared units, with intervals of 95 %.

    An interval covers both the choice of the held-out units, as if there were as many as declared, and the
    noise, whose variance is known. Values are cut to [0, 1]; ``None`` where nobody answered.
    """
    by_site = {site: _accuracy([metric]) for site, metric in sorted(metrics.items())}
    return {"ranking_accuracy": _accuracy(list(metrics.values())), "by_site": by_site}


def _accuracy(metrics: list[PrivateMetric]) -> JsonDict:
    declared = math.fsum(metric.declared for metric in metrics)
    if not declared:
        return {"value": None, "low": None, "high": None, "noise_stddev": None}
    value = min(max(math.fsum(metric.correct for metric in metrics) / declared, 0.0), 1.0)
    noise = math.fsum(metric.event.noise_multiplier**2 for metric in metrics) / declared**2
    likely = (value * declared + 2) / (declared + 4)  # Agresti and Coull: never without spread
    reach = _NORMAL_95 * math.sqrt(likely * (1 - likely) / declared + noise)
    return {
        "value": value,
        "low": max(value - reach, 0.0),
        "high": min(value + reach, 1.0),
        "noise_stddev": math.sqrt(noise),
    }


def _requests(
    outcome: Outcome, name: str, state: FloatVector, layout_digest: str
) -> dict[str, EvaluateRequest]:
    run = outcome.state
    members = {site: s for site, s in run.schedules.items() if site not in outcome.left_out}
    return {
        site: EvaluateRequest(
            run_id=run.run_id,
            request_id=f"{run.run_id}:{site}:{STAGE} {name}",
            noise_multiplier=multiplier,
            layout_digest=layout_digest,
            adapter=state,
            ledger_head=run.ledger_heads.get(site, ""),
        )
        for site, schedule in sorted(members.items())
        for stage, multiplier, _ in schedule.votes
        if stage == STAGE
    }


def _problem(request: EvaluateRequest, metric: PrivateMetric, unit: str) -> str | None:
    """Why a count cannot be used, or ``None``."""
    if metric.request_id != request.request_id:
        return "another request"
    if metric.event != PrivacyEvent(request.kind, request.noise_multiplier, 1.0, 1, unit):
        return "another event than asked"
    if not (math.isfinite(metric.correct) and math.isfinite(metric.declared) and metric.declared > 0):
        return "not finite"
    return None


def _with_costs(outcome: Outcome, metrics: Mapping[str, PrivateMetric]) -> Outcome:
    events: dict[str, tuple[PrivacyEvent, ...]] = dict(outcome.events)
    for site, metric in metrics.items():
        events[site] = (*events.get(site, ()), metric.event)
    return replace(outcome, events=events)


def _others(schedule: Schedule) -> tuple[tuple[str, float, int], ...]:
    return tuple(vote for vote in schedule.votes if vote[0] != STAGE)
