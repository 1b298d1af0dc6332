# SPDX-License-Identifier: Apache-2.0
"""The coordinator's part of a vote: have the sites commit the whole run, then poll them.

The commitments are made durable before anybody is asked, and every request is a function of them and of
public data: what was interrupted asks for the very same releases again, which sites send as they were.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedpeft.privacy.histogram import (
    SYNTHESIS,
    PrivateHistogram,
    VoteAnswer,
    VoteRequest,
    VotingTransport,
)
from fedpeft.synthesis import begun as begun_file
from fedpeft.synthesis.base import Tally, added
from fedpeft.synthesis.begun import Begun
from fedpeft.synthesis.certificate import Contribution
from fedpeft.types import TRAINING, PrivacyEvent, RefusalCode, Schedule, SiteFacts

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a vote needs to know of its run, all of it public.

    Attributes:
        schedule: what each site shall commit, votes included, from the facts of those that are there.
        unit: of privacy.
        delta: of the run.
        num_sites: how many sites to wait for, at most ``deadline_s``.
        deadline_s: of each exchange.
    """

    schedule: Callable[[Mapping[str, SiteFacts]], Mapping[str, Schedule]]
    unit: str
    delta: float
    num_sites: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """What all sites are asked in one poll.

    Attributes:
        stage: that pays.
        embedding: name of the public map that ``bins`` lie in the range of.
        neighbours: bins that each record votes for.
        bins: ``(num_bins, dimension)``.
    """

    stage: str
    embedding: str
    neighbours: int
    bins: npt.NDArray[np.float32]


class Booth:
    """One poll, and what is known of it.

    Attributes:
        begun: what the sites were asked to commit.
        contributors: what each site released.
        left_out: sites that released nothing, and why.
    """

    def __init__(self, transport: VotingTransport, terms: Terms, begun: Begun, home: Path) -> None:
        """Ask nobody yet.

        Args:
            transport: reaches the sites.
            terms: of the run.
            begun: what was asked before.
            home: the run's folder, where commitments are kept.
        """
        self.begun = begun
        self.contributors: dict[str, Contribution] = {}
        self.left_out: dict[str, str] = {}
        self._transport = transport
        self._terms = terms
        self._home = home
        self._facts: Mapping[str, SiteFacts] = {}

    def poll(self, question: Question) -> Tally:
        """Have everybody commit, then vote; the sum of what came."""
        stage = question.stage
        requests = {site: self._request(site, question) for site in self.commit(stage)}
        found: list[tuple[npt.NDArray[np.float32], float]] = []
        for site, answer in self._transport.vote(requests, self._terms.deadline_s):
            request = requests[site]
            problem = _problem(request, answer, self._terms.unit)
            if problem or not isinstance(answer, PrivateHistogram):
                self.left_out[site] = problem
                continue
            self.contributors[site] = Contribution(
                self._facts[site].declared_units, request.request_id, answer.event, answer.ledger_head
            )
            found.append((answer.values, request.noise_multiplier))
        silent = set(requests) - set(self.contributors) - set(self.left_out)
        self.left_out |= dict.fromkeys(sorted(silent), "no answer")
        for site, reason in sorted(self.left_out.items()):
            _log.warning("%s: goes on without the votes of %s (%s)", stage, site, reason)
        return added(found, len(question.bins))

    def commit(self, stage: str) -> list[str]:
        """The sites that have committed to ``stage``; those whose policy forbids it commit the rest."""
        terms = self._terms
        self._facts = self._transport.describe(terms.num_sites, terms.deadline_s)
        if not self.begun.schedules:
            self._keep(dict(terms.schedule(self._facts)))
        schedules = self.begun.schedules
        asked = {site: schedules[site] for site in sorted(schedules) if site in self._facts}
        self.left_out |= dict.fromkeys(sorted(set(schedules) - set(asked)), "not connected")
        replies = self._transport.commit(asked, terms.deadline_s)
        self.left_out |= dict.fromkeys(sorted(set(asked) - set(replies)), "no answer")
        replies = self._commit_less(asked, dict(replies), stage)
        self.left_out |= {site: code.value for site, code in replies.items() if code is not None}
        consenting = [site for site in asked if site in replies and replies[site] is None]
        taking_part = [site for site in consenting if stage in self.begun.schedules[site].stages]
        self.left_out |= dict.fromkeys(sorted(set(consenting) - set(taking_part)), RefusalCode.POLICY.value)
        return taking_part

    @property
    def num_present(self) -> int:
        """Sites that were there to commit, whatever they said: as many can be found again at once."""
        return max(1, len(self._facts))

    def _commit_less(
        self, asked: Mapping[str, Schedule], replies: dict[str, RefusalCode | None], stage: str
    ) -> dict[str, RefusalCode | None]:
        """Ask those whose policy forbids some stages for less, until they consent; the last replies.

        First without ``stage``, then without any other one beside the steps, then without two, and so on.
        """
        others = [one for schedule in asked.values() for one in schedule.stages if one != TRAINING]
        for forbidden in _subsets(tuple(dict.fromkeys([stage, *others]))):
            unwilling = [site for site, code in replies.items() if code is RefusalCode.POLICY]
            less = {site: _without(asked[site], forbidden) for site in unwilling}
            less = {site: schedule for site, schedule in less.items() if schedule != asked[site]}
            if less:
                self._keep(self.begun.schedules | less)
                replies |= self._transport.commit(less, self._terms.deadline_s)
        return replies

    def _request(self, site: str, question: Question) -> VoteRequest:
        run_id, votes = self.begun.run_id, self.begun.schedules[site].votes
        named = "vote" if question.stage == SYNTHESIS else f"{question.stage} vote"
        return VoteRequest(
            run_id=run_id,
            request_id=f"{run_id}:{site}:{named}",
            noise_multiplier=next(multiplier for one, multiplier, _ in votes if one == question.stage),
            embedding=question.embedding,
            neighbours=question.neighbours,
            bins=question.bins,
            ledger_head=self._facts[site].ledger_head,
        )

    def _keep(self, schedules: dict[str, Schedule]) -> None:
        self.begun = dataclasses.replace(self.begun, schedules=schedules)
        begun_file.save(self.begun, self._home)


def _without(schedule: Schedule, stages: Iterable[str]) -> Schedule:
    """The same steps at the same noise, with nothing of these stages beside the training."""
    gone = set(stages) - {TRAINING}
    left = [stage for stage in schedule.stage.split("+") if stage not in gone]
    votes = tuple(vote for vote in schedule.votes if vote[0] not in gone)
    return dataclasses.replace(schedule, votes=votes, stage="+".join(left))


def _subsets(stages: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for size in range(1, len(stages) + 1):
        yield from itertools.combinations(stages, size)


def _problem(request: VoteRequest, answer: VoteAnswer, unit: str) -> str:
    """Why an answer cannot be counted; empty if it can."""
    if not isinstance(answer, PrivateHistogram):
        return answer.value
    expected = PrivacyEvent(request.kind, request.noise_multiplier, 1.0, 1, unit)
    if answer.request_id != request.request_id or answer.event != expected:
        return "its release is not what was asked for"
    if answer.values.shape != (len(request.bins),) or not np.isfinite(answer.values).all():
        return "its histogram is not of these bins"
    return ""
