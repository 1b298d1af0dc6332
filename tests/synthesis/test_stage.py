# SPDX-License-Identifier: Apache-2.0
"""The stage: committed before it is asked, paid once whatever happens, without those who will not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from fedpeft.errors import DataError, RunDirectoryError
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.histogram import PrivateHistogram, VoteAnswer, VoteRequest
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis import begun as begun_file
from fedpeft.synthesis.base import find
from fedpeft.synthesis.booth import Terms
from fedpeft.synthesis.dataset import DATA_FILE, SyntheticDataset, is_complete
from fedpeft.synthesis.stage import StagePlan, synthesize
from fedpeft.types import PrivacyEvent, RefusalCode, Schedule, SiteFacts

MULTIPLIER = 5.0
VOTES = (("synthesis", MULTIPLIER, 1),)


class Sites:
    """Three sites; ``answer`` changes what one of them sends, ``policy`` names those that forbid votes."""

    def __init__(self, policy: tuple[str, ...] = (), **answers: object) -> None:
        self.names = ("east", "north", "west")
        self.policy = policy
        self.answers = answers
        self.committed: dict[str, Schedule] = {}
        self.asked: list[VoteRequest] = []
        self.crash_after = 99

    def describe(self, num_sites: int, deadline_s: float) -> dict[str, SiteFacts]:
        assert (num_sites, deadline_s) == (3, 60.0)
        return {name: SiteFacts(name, 400, "record", 8.0, 1e-5, "head") for name in self.names}

    def commit(self, schedules: Mapping[str, Schedule], deadline_s: float) -> dict[str, RefusalCode | None]:
        replies: dict[str, RefusalCode | None] = {}
        for site, schedule in schedules.items():
            forbidden = site in self.policy and bool(schedule.votes)
            known = self.committed.get(site, schedule)
            replies[site] = (
                RefusalCode.POLICY if forbidden else RefusalCode.REPLAY if known != schedule else None
            )
            if replies[site] is None:
                self.committed[site] = schedule
        return replies

    def train(self, requests: object, deadline_s: float) -> list[object]:
        raise AssertionError("nobody trains yet")

    def vote(
        self, requests: Mapping[str, VoteRequest], deadline_s: float
    ) -> Iterator[tuple[str, VoteAnswer]]:
        for number, (site, request) in enumerate(requests.items()):
            if number >= self.crash_after:
                raise KeyboardInterrupt
            self.asked.append(request)
            answer = self.answers.get(site, self._histogram(request))
            if answer is not None:
                yield site, answer  # type: ignore[misc]

    def _histogram(self, request: VoteRequest) -> PrivateHistogram:
        values = np.zeros(len(request.bins), np.float32)
        values[2] = 300.0
        event = PrivacyEvent("gaussian", request.noise_multiplier, 1.0, 1, "record")
        return PrivateHistogram(request.request_id, values, event, "newer")


def plan(generator: str = "pool", **changes: object) -> StagePlan:
    settings = SynthesisSettings(**({"generator": generator, "size": 50, "bins": 8} | changes))
    votes = VOTES if generator == "pool" else ()
    return StagePlan(
        generator=find(generator)(settings, DataSettings()),
        name=generator,
        terms=Terms(
            schedule=lambda facts: {
                name: Schedule("run", ((2.0, 4),), 0.1, "record", votes=votes) for name in facts
            },
            unit="record",
            delta=1e-5,
            num_sites=3,
            deadline_s=60.0,
        ),
    )


def test_all_sites_vote_and_the_certificate_says_so(tmp_path: Path) -> None:
    sites = Sites()
    begun, data = synthesize(sites, plan(), "run", tmp_path / "s")
    assert len(data.rows) == 50
    certificate = data.certificate
    assert set(certificate.contributors) == set(sites.names)
    assert certificate.left_out == {}
    event = PrivacyEvent("gaussian", MULTIPLIER, 1.0, 1, "record")
    assert certificate.epsilon == pytest.approx(epsilon([event], 1e-5))
    assert certificate.problems() == []
    assert begun.events == dict.fromkeys(sites.names, (event,))
    assert begun.schedules == sites.committed
    assert begun.run_id == certificate.run_id == "run"
    assert SyntheticDataset.read(tmp_path / "s") == data
    assert len({request.request_id for request in sites.asked}) == 3


def test_a_finished_stage_asks_nobody(tmp_path: Path) -> None:
    first = synthesize(Sites(), plan(), "run", tmp_path / "s")
    sites = Sites()
    again = synthesize(sites, plan(), "another", tmp_path / "s")
    assert again == first
    assert sites.asked == []
    assert sites.committed == {}


def test_an_interrupted_stage_asks_for_the_same_again(tmp_path: Path) -> None:
    sites = Sites()
    sites.crash_after = 2
    with pytest.raises(KeyboardInterrupt):
        synthesize(sites, plan(), "run", tmp_path / "s")
    assert not is_complete(tmp_path / "s")
    sites.crash_after = 99
    begun, _ = synthesize(sites, plan(), "another", tmp_path / "s")
    assert begun.run_id == "run"
    first, second = sites.asked[:2], sites.asked[2:4]
    assert [request.digest() for request in first] == [request.digest() for request in second]
    assert [request.request_id for request in first] == [request.request_id for request in second]


def test_the_commitment_is_durable_before_it_is_asked(tmp_path: Path) -> None:
    class Watching(Sites):
        def commit(self, schedules, deadline_s):  # type: ignore[no-untyped-def]
            found = begun_file.load(tmp_path)
            assert found is not None
            assert {site: found.schedules[site] for site in schedules} == dict(schedules)
            return super().commit(schedules, deadline_s)

    synthesize(Watching(policy=("north",)), plan(), "run", tmp_path / "s")


def test_a_site_whose_policy_forbids_votes_commits_the_rest(tmp_path: Path) -> None:
    sites = Sites(policy=("north",))
    begun, data = synthesize(sites, plan(), "run", tmp_path / "s")
    assert data.certificate.left_out == {"north": "policy"}
    assert "north" not in begun.events
    assert begun.schedules["north"].votes == ()
    assert begun.schedules["east"].votes == VOTES
    assert sites.committed == begun.schedules
    assert [request.request_id for request in sites.asked] == ["run:east:vote", "run:west:vote"]


EVENT = PrivacyEvent("gaussian", MULTIPLIER, 1.0, 1, "record")
GOOD = PrivateHistogram("run:north:vote", np.zeros(8, np.float32), EVENT, "newer")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "no answer"),
        (RefusalCode.BUDGET, "budget"),
        (dataclasses.replace(GOOD, request_id="other"), "not what was asked for"),
        (
            dataclasses.replace(GOOD, event=dataclasses.replace(EVENT, noise_multiplier=9.0)),
            "not what was asked",
        ),
        (dataclasses.replace(GOOD, event=dataclasses.replace(EVENT, unit="patient")), "not what was asked"),
        (dataclasses.replace(GOOD, values=np.zeros(3, np.float32)), "not of these bins"),
        (dataclasses.replace(GOOD, values=np.full(8, np.nan, np.float32)), "not of these bins"),
    ],
)
def test_an_answer_that_cannot_be_counted_is_left_out(tmp_path: Path, answer: object, reason: str) -> None:
    _, data = synthesize(Sites(north=answer), plan(), "run", tmp_path / "s")
    assert reason in data.certificate.left_out["north"]
    assert set(data.certificate.contributors) == {"east", "west"}


def test_public_data_ask_nobody(tmp_path: Path) -> None:
    sites = Sites()
    begun, data = synthesize(sites, plan("public"), "run", tmp_path / "s")
    assert (sites.asked, sites.committed, begun.schedules, begun.events) == ([], {}, {}, {})
    assert (data.certificate.epsilon, data.certificate.contributors) == (0.0, {})


def test_bad_public_data_are_told_before_anybody_is_asked(tmp_path: Path) -> None:
    sites = Sites()
    with pytest.raises(DataError, match="bins"):
        synthesize(sites, plan(bins=4000), "run", tmp_path / "s")
    assert (sites.asked, sites.committed) == ([], {})


def test_edited_data_are_refused(tmp_path: Path) -> None:
    synthesize(Sites(), plan(), "run", tmp_path / "s")
    path = tmp_path / "s" / DATA_FILE
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="SHA-256"):
        synthesize(Sites(), plan(), "run", tmp_path / "s")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": "a", "schedules": {"b": {}}, "choice": ""}'])
def test_damaged_commitments_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / begun_file.FILE).write_text(text)
    with pytest.raises(RunDirectoryError, match="damaged"):
        synthesize(Sites(), plan(), "run", tmp_path / "s")
