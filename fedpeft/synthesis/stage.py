# SPDX-License-Identifier: Apache-2.0
"""The coordinator's part of synthesis: have the sites commit the whole run, poll them once, keep the data.

The commitments are made durable before anybody is asked, and every request is a function of them and of
public data: a stage that was interrupted asks for the very same releases again, which sites send as they
were. A stage that is finished is read from its folder. So nothing is paid twice.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedpeft.data.embedding import NAME
from fedpeft.privacy.histogram import PrivateHistogram, VoteAnswer, VoteRequest, VotingTransport
from fedpeft.synthesis import begun as begun_file
from fedpeft.synthesis.base import Generator, Tally, added
from fedpeft.synthesis.begun import Begun
from fedpeft.synthesis.certificate import Certificate, Contribution, cost_of
from fedpeft.synthesis.dataset import SyntheticDataset, is_complete
from fedpeft.types import PrivacyEvent, RefusalCode, Schedule, SiteFacts

_log = logging.getLogger(__name__)

STAGE = VoteRequest.stage


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What the stage needs to know, all of it public.

    Attributes:
        generator: makes the data.
        name: of the generator, for the certificate.
        schedule: what each site shall commit, votes included, from the facts of those that are there.
        unit: of privacy.
        delta: of the run.
        num_sites: how many sites to wait for, at most ``deadline_s``.
        deadline_s: of each exchange.
    """

    generator: Generator
    name: str
    schedule: Callable[[Mapping[str, SiteFacts]], Mapping[str, Schedule]]
    unit: str
    delta: float
    num_sites: int
    deadline_s: float


def synthesize(
    transport: VotingTransport, plan: StagePlan, run_id: str, folder: Path
) -> tuple[Begun, SyntheticDataset]:
    """Make the data in ``folder``, or read those that are finished there.

    Returns:
        What the sites were asked to commit, for the rounds that follow, and the data.

    Raises:
        DataError: the public data cannot be used, or finished data were edited.
        RunDirectoryError: the folder cannot be written.
    """
    begun = begun_file.load(folder)
    if begun is not None and is_complete(folder):
        data = SyntheticDataset.read(folder)
        return dataclasses.replace(begun, events=_events(data.certificate)), data
    booth = _Booth(transport, plan, begun or Begun(run_id, {}), folder)
    made = plan.generator.generate(booth.poll)
    certificate = booth.certificate(made.note)
    data = SyntheticDataset.certified(made.rows, certificate)
    begun_file.save(booth.begun, folder)  # also where nobody was asked
    data.write(folder)
    return dataclasses.replace(booth.begun, events=_events(certificate)), data


def _events(certificate: Certificate) -> dict[str, tuple[PrivacyEvent, ...]]:
    return {site: (contribution.event,) for site, contribution in certificate.contributors.items()}


class _Booth:
    """One poll, and what is known of it."""

    def __init__(self, transport: VotingTransport, plan: StagePlan, begun: Begun, folder: Path) -> None:
        self.begun = begun
        self._transport = transport
        self._plan = plan
        self._folder = folder
        self._facts: Mapping[str, SiteFacts] = {}
        self._contributors: dict[str, Contribution] = {}
        self._left_out: dict[str, str] = {}

    def poll(self, bins: npt.NDArray[np.float32]) -> Tally:
        """Have everybody commit, then vote; the sum of what came."""
        requests = {site: self._request(site, bins) for site in self._commit()}
        found: list[tuple[npt.NDArray[np.float32], float]] = []
        for site, answer in self._transport.vote(requests, self._plan.deadline_s):
            request = requests[site]
            problem = _problem(request, answer, self._plan.unit)
            if problem or not isinstance(answer, PrivateHistogram):
                self._left_out[site] = problem
                continue
            facts = self._facts[site]
            self._contributors[site] = Contribution(
                facts.declared_units, request.request_id, answer.event, answer.ledger_head
            )
            found.append((answer.values, request.noise_multiplier))
        silent = set(requests) - set(self._contributors) - set(self._left_out)
        self._left_out |= dict.fromkeys(sorted(silent), "no answer")
        for site, reason in sorted(self._left_out.items()):
            _log.warning("synthesis: goes on without the votes of %s (%s)", site, reason)
        return added(found, len(bins))

    def certificate(self, note: str) -> Certificate:
        """Of what was released; the data's hash is still to come."""
        events = [contribution.event for contribution in self._contributors.values()]
        return Certificate(
            generator=self._plan.name,
            run_id=self.begun.run_id if events else "",
            unit=self._plan.unit,
            epsilon=cost_of(events, self._plan.delta),
            delta=self._plan.delta,
            data_sha256="",
            contributors=self._contributors,
            left_out=self._left_out,
            note=note,
        )

    def _commit(self) -> list[str]:
        """The sites that have committed to a vote; those whose policy forbids it commit the rest."""
        self._facts = self._transport.describe(self._plan.num_sites, self._plan.deadline_s)
        if not self.begun.schedules:
            self._keep(dict(self._plan.schedule(self._facts)))
        schedules = self.begun.schedules
        asked = {site: schedules[site] for site in sorted(schedules) if site in self._facts}
        self._left_out |= dict.fromkeys(sorted(set(schedules) - set(asked)), "not connected")
        replies = self._transport.commit(asked, self._plan.deadline_s)
        self._left_out |= dict.fromkeys(sorted(set(asked) - set(replies)), "no answer")
        replies = self._commit_less(asked, dict(replies))
        self._left_out |= {site: code.value for site, code in replies.items() if code is not None}
        consenting = [site for site in asked if site in replies and replies[site] is None]
        voting = [site for site in consenting if _multiplier(self.begun.schedules[site]) is not None]
        self._left_out |= dict.fromkeys(sorted(set(consenting) - set(voting)), RefusalCode.POLICY.value)
        return voting

    def _commit_less(
        self, asked: Mapping[str, Schedule], replies: dict[str, RefusalCode | None]
    ) -> dict[str, RefusalCode | None]:
        """Ask those whose policy forbids some stage for less, until they consent; the last replies.

        Without this stage, without any other beside the steps, without both.
        """
        for keep in (lambda stage: stage != STAGE, lambda stage: stage == STAGE, lambda _: False):
            unwilling = [site for site, code in replies.items() if code is RefusalCode.POLICY]
            less = {
                site: dataclasses.replace(
                    asked[site], votes=tuple(vote for vote in asked[site].votes if keep(vote[0]))
                )
                for site in unwilling
            }
            less = {site: schedule for site, schedule in less.items() if schedule != asked[site]}
            if less:
                self._keep(self.begun.schedules | less)
                replies |= self._transport.commit(less, self._plan.deadline_s)
        return replies

    def _request(self, site: str, bins: npt.NDArray[np.float32]) -> VoteRequest:
        multiplier = _multiplier(self.begun.schedules[site])
        assert multiplier is not None
        return VoteRequest(
            run_id=self.begun.run_id,
            request_id=f"{self.begun.run_id}:{site}:vote",
            noise_multiplier=multiplier,
            embedding=NAME,
            neighbours=self._plan.generator.settings.neighbours,
            bins=bins,
            ledger_head=self._facts[site].ledger_head,
        )

    def _keep(self, schedules: dict[str, Schedule]) -> None:
        self.begun = dataclasses.replace(self.begun, schedules=schedules)
        begun_file.save(self.begun, self._folder)


def _multiplier(schedule: Schedule) -> float | None:
    return next((multiplier for stage, multiplier, _ in schedule.votes if stage == STAGE), None)


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
