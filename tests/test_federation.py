# SPDX-License-Identifier: Apache-2.0
"""The round loop against sites that exist only as a few lines of arithmetic."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from fedpeft.aggregation.base import maker
from fedpeft.aggregation.server_optimizer import Adam, Sgd
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.checkpoint import Checkpoint, load
from fedpeft.errors import FedpeftError, RunDirectoryError
from fedpeft.federation import RoundPlan, run_rounds
from fedpeft.privacy.allocation.allocator import Allocator
from fedpeft.privacy.allocation.instability import Rule as Instability
from fedpeft.privacy.allocation.uniform import Rule as Uniform
from fedpeft.types import Layout, PrivacyEvent, PrivateUpdate, RefusalCode, Schedule, Segment, SiteFacts

SIZE = 12
UNITS = {"east": 100, "north": 300, "west": 50}
MULTIPLIERS = {"east": 1.5, "north": 1.1, "west": 2.5}
RATE = 0.1


def _release(request) -> PrivateUpdate:
    """What a site answers: a function of the request, so that asking again gives the same."""
    seed = [len(request.request_id), *request.request_id.encode()]
    noise = np.random.default_rng(seed).standard_normal(SIZE)
    values = (0.1 * noise - 0.2 * request.adapter).astype(np.float32)
    event = PrivacyEvent(
        "poisson-gaussian", request.noise_multiplier, request.sampling_rate, request.local_steps, "record"
    )
    return PrivateUpdate(request.request_id, values, event, f"head:{request.request_id}")


@dataclass
class FakeTransport:
    """Sites in memory. ``misbehave(site, request)`` may return another list of answers for a request."""

    sites: list[str] = field(default_factory=lambda: sorted(UNITS))
    commits: dict[str, RefusalCode | None] = field(default_factory=dict)
    misbehave: Callable = lambda site, request: None
    silent_at_commit: tuple[str, ...] = ()
    committed: dict[str, Schedule] = field(default_factory=dict)
    requests: list = field(default_factory=list)

    def describe(self, num_sites, deadline_s):
        return {s: SiteFacts(s, UNITS[s], "record", 8.0, 1e-5, f"genesis:{s}") for s in self.sites}

    def commit(self, schedules, deadline_s):
        self.committed.update(schedules)
        return {s: self.commits.get(s) for s in schedules if s not in self.silent_at_commit}

    def train(self, requests, deadline_s):
        self.requests.append(dict(requests))
        for site, request in requests.items():
            answers = self.misbehave(site, request)
            for answer in [_release(request)] if answers is None else answers:
                yield site, answer


LAYOUT = Layout((Segment("a", 0, "m", (4,), 0), Segment("b", 1, "m", (2, 4), 4)))
PLAN = RoundPlan(
    local_steps=2, learning_rates=(0.5,) * 3, allocator=Allocator(Uniform(), LAYOUT, 2.0),
    smoother=Smoother(LAYOUT, 0.0),
    clipping="automatic", layout_digest="abc", num_sites=3, min_sites=3, deadline_s=5.0,
)  # fmt: skip


def _schedule(facts):
    return {site: Schedule.constant("run", MULTIPLIERS[site], RATE, 10, "record") for site in facts}


def _fresh() -> Checkpoint:
    return Checkpoint.fresh("run", np.linspace(-1, 1, SIZE).astype(np.float32), {"perplexity": 9.0})


def _run(folder, transport=None, plan=PLAN, start=None, optimizer=None, **options):
    return run_rounds(
        transport or FakeTransport(),
        plan,
        start or _fresh(),
        schedule=options.pop("schedule", _schedule),
        new_aggregator=maker("mean"),
        optimizer=optimizer or Sgd(1.0, 0.0),
        folder=folder,
        **options,
    )


def _lines(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


class TestCompleteRun:
    def test_every_round_applies_the_mean_weighted_by_expected_batches(self, tmp_path):
        transport = FakeTransport()
        outcome = _run(tmp_path, transport)
        adapter = _fresh().adapter
        for requests in transport.requests:
            assert all(np.array_equal(r.adapter, adapter) for r in requests.values())
            updates = {s: _release(r).values.astype(float) for s, r in requests.items()}
            mean = sum(UNITS[s] * u for s, u in updates.items()) / sum(UNITS[s] for s in updates)
            adapter = (adapter + mean).astype(np.float32)
        np.testing.assert_allclose(outcome.state.adapter, adapter, rtol=1e-6)
        assert outcome.stopped_because == "completed"
        assert outcome.state.rounds_completed == 3
        assert outcome.left_out == {}

    def test_requests_carry_the_plan_and_the_schedule_of_the_site(self, tmp_path):
        transport = FakeTransport()
        _run(tmp_path, transport)
        request = transport.requests[1]["west"]
        assert request.request_id == "run:west:2"
        assert (request.round_number, request.local_steps, request.learning_rate) == (2, 2, 0.5)
        assert (request.noise_multiplier, request.sampling_rate) == (2.5, RATE)
        assert (request.scales, request.clipping) == ((2.0, 2.0), "automatic")
        assert request.layout_digest == "abc"

    def test_the_newest_head_is_echoed(self, tmp_path):
        transport = FakeTransport()
        _run(tmp_path, transport)
        assert [r["east"].ledger_head for r in transport.requests] == [
            "genesis:east", "head:run:east:1", "head:run:east:2",
        ]  # fmt: skip

    def test_each_site_is_asked_to_commit_its_own_schedule_first(self, tmp_path):
        transport = FakeTransport()
        _run(tmp_path, transport)
        assert {s: c.noise_multiplier_at(0) for s, c in transport.committed.items()} == MULTIPLIERS

    def test_events_of_every_release_are_composed_by_site(self, tmp_path):
        outcome = _run(tmp_path)
        assert {s: (len(es), es[0].noise_multiplier) for s, es in outcome.events.items()} == {
            s: (3, m) for s, m in MULTIPLIERS.items()
        }

    def test_one_line_a_round_and_a_callback(self, tmp_path):
        seen = []
        ticks = iter(range(1000))
        _run(tmp_path, on_round=seen.append, clock=lambda: float(next(ticks)))
        lines = _lines(tmp_path)
        assert [line["round"] for line in lines] == [1, 2, 3]
        assert [state.rounds_completed for state in seen] == [1, 2, 3]
        assert seen[-1].records == tuple(lines)
        first = lines[0]
        assert first["answered"] == ["east", "north", "west"]
        assert (first["refused"], first["dropped"], first["missing"]) == ({}, {}, [])
        assert first["seconds"] == {"train": 1.0, "aggregate": 1.0}
        assert (first["bytes_up"], first["bytes_down"]) == (3 * SIZE * 4, 3 * SIZE * 4)
        assert first["update_norm"] > 0

    def test_update_norm_is_that_of_the_aggregate(self, tmp_path):
        outcome = _run(tmp_path, plan=replace(PLAN, learning_rates=(0.5,)))
        moved = outcome.state.adapter.astype(float) - _fresh().adapter
        assert _lines(tmp_path)[0]["update_norm"] == pytest.approx(math.sqrt(moved @ moved), rel=1e-6)

    def test_checkpoint_is_durable_before_the_callback(self, tmp_path):
        def check(state):
            assert load(tmp_path / "checkpoint").rounds_completed == state.rounds_completed

        assert _run(tmp_path, on_round=check).stopped_because == "completed"

    def test_the_server_optimizer_keeps_its_memory_from_round_to_round(self, tmp_path):
        transport, optimizer = FakeTransport(), Adam(0.05, 0.0, 0.9)
        outcome = _run(tmp_path, transport, optimizer=optimizer)
        adapter, state = _fresh().adapter, {}
        # Two steps a site of learning rate 0.5 at scale 2, over the sum of the expected batches.
        noise = 2 * (0.5 * 2.0) ** 2 * sum(m**2 for m in MULTIPLIERS.values()) / 45**2
        for requests in transport.requests:
            mean = sum(UNITS[s] * _release(r).values.astype(float) for s, r in requests.items()) / 450
            adapter, state = optimizer.apply(adapter, mean, np.full(SIZE, noise), state)
        np.testing.assert_allclose(outcome.state.adapter, adapter, rtol=1e-6)
        assert outcome.state.optimizer["step"] == 3

    def test_decay_and_server_optimizer_are_applied(self, tmp_path):
        silent = lambda site, r: [replace(_release(r), values=np.zeros(SIZE, np.float32))]  # noqa: E731
        outcome = _run(tmp_path, FakeTransport(misbehave=silent), optimizer=Sgd(1.0, 0.1))
        np.testing.assert_allclose(outcome.state.adapter, _fresh().adapter * 0.9**3, rtol=1e-5)


def _altered(**changes):
    return lambda request: [replace(_release(request), **changes)]


def _event_altered(**changes):
    return lambda request: [replace(_release(request), event=replace(_release(request).event, **changes))]


OTHER_EVENT = {"west": "another event than asked"}
ROUND_TWO = {
    "missing": (lambda r: [], "missing", ["west"]),
    "refusal": (lambda r: [RefusalCode.EXPIRED], "refused", {"west": "expired"}),
    "nan": (_altered(values=np.full(SIZE, np.nan, "f4")), "dropped", {"west": "not finite"}),
    "infinity": (_altered(values=np.full(SIZE, np.inf, "f4")), "dropped", {"west": "not finite"}),
    "short": (_altered(values=np.ones(SIZE - 1, "f4")), "dropped", {"west": "another length"}),
    "less noise than asked": (_event_altered(noise_multiplier=1.0), "dropped", OTHER_EVENT),
    "more steps than asked": (_event_altered(steps=3), "dropped", OTHER_EVENT),
    "another rate": (_event_altered(sampling_rate=0.2), "dropped", OTHER_EVENT),
    "another unit": (_event_altered(unit="patient"), "dropped", OTHER_EVENT),
    "another mechanism": (_event_altered(kind="gaussian"), "dropped", OTHER_EVENT),
    "late, of the round before": (_altered(request_id="run:west:1"), "dropped", {"west": "another request"}),
}


class TestSiteThatFailsInRoundTwo:
    @pytest.mark.parametrize("case", ROUND_TWO)
    def test_is_named_and_the_others_go_on(self, tmp_path, case):
        answers, where, value = ROUND_TWO[case]

        def misbehave(site, request):
            return answers(request) if (site, request.round_number) == ("west", 2) else None

        outcome = _run(tmp_path, FakeTransport(misbehave=misbehave), replace(PLAN, min_sites=2))
        assert outcome.stopped_because == "completed"
        lines = _lines(tmp_path)
        assert lines[1][where] == value
        assert lines[1]["answered"] == ["east", "north"]
        assert lines[0]["answered"] == lines[2]["answered"] == ["east", "north", "west"]

    @pytest.mark.parametrize("case", ROUND_TWO)
    def test_leaves_no_trace_in_the_aggregate(self, tmp_path, case):
        def run(answers, folder):
            folder.mkdir()
            misbehave = lambda s, r: answers(r) if (s, r.round_number) == ("west", 2) else None  # noqa: E731
            return _run(folder, FakeTransport(misbehave=misbehave), replace(PLAN, min_sites=2)).state.adapter

        absent = run(lambda r: [], tmp_path / "absent")
        assert run(ROUND_TWO[case][0], tmp_path / "case").tobytes() == absent.tobytes()
        present = run(lambda r: None, tmp_path / "present")
        assert present.tobytes() != absent.tobytes()  # the comparison can fail

    def test_answers_twice_and_counts_once(self, tmp_path):
        twice = FakeTransport(
            misbehave=lambda s, r: [_release(r), replace(_release(r), values=np.ones(SIZE, "f4"))]
        )
        (tmp_path / "twice").mkdir()
        (tmp_path / "once").mkdir()
        first, second = _run(tmp_path / "twice", twice), _run(tmp_path / "once")
        assert first.state.adapter.tobytes() == second.state.adapter.tobytes()
        assert first.events == second.events

    def test_an_answer_from_nobody_that_was_asked_is_ignored(self, tmp_path):
        class Chatty(FakeTransport):
            def train(self, requests, deadline_s):
                yield "stranger", _release(requests["west"])
                yield from super().train(requests, deadline_s)

        assert _run(tmp_path, Chatty()).events.keys() == UNITS.keys()

    def test_what_it_spent_is_composed_although_it_was_not_used(self, tmp_path):
        weak = PrivacyEvent("poisson-gaussian", 0.5, RATE, 2, "record")
        misbehave = lambda s, r: [replace(_release(r), event=weak)] if s == "west" else None  # noqa: E731
        outcome = _run(tmp_path, FakeTransport(misbehave=misbehave), replace(PLAN, min_sites=2))
        assert outcome.events["west"] == (weak,) * 3


class TestStops:
    def test_too_few_sites_connected_spends_nothing(self, tmp_path):
        transport = FakeTransport(sites=["east", "west"])
        outcome = _run(tmp_path, transport)
        assert (outcome.stopped_because, outcome.state.rounds_completed) == ("quorum", 0)
        assert transport.committed == {}
        assert "2 sites connected, min_sites is 3" in outcome.detail

    def test_a_site_that_refuses_to_commit_is_left_out_and_named(self, tmp_path):
        transport = FakeTransport(commits={"west": RefusalCode.POLICY})
        outcome = _run(tmp_path, transport, replace(PLAN, min_sites=2))
        assert outcome.left_out == {"west": "policy"}
        assert outcome.stopped_because == "completed"
        assert all(r.keys() == {"east", "north"} for r in transport.requests)

    def test_a_site_silent_at_commit_is_left_out_and_named(self, tmp_path):
        transport = FakeTransport(silent_at_commit=("east",))
        outcome = _run(tmp_path, transport, replace(PLAN, min_sites=2))
        assert outcome.left_out == {"east": "no answer"}

    def test_a_site_without_schedule_is_left_out_and_named(self, tmp_path):
        def schedule(facts):
            return {s: c for s, c in _schedule(facts).items() if s != "north"}

        outcome = _run(tmp_path, plan=replace(PLAN, min_sites=2), schedule=schedule)
        assert outcome.left_out == {"north": "not scheduled"}

    def test_too_few_commit(self, tmp_path):
        transport = FakeTransport(commits={"west": RefusalCode.POLICY})
        outcome = _run(tmp_path, transport)
        assert (outcome.stopped_because, outcome.state.rounds_completed) == ("quorum", 0)
        assert "west: policy" in outcome.detail
        assert transport.requests == []

    def test_all_refuse_to_commit_for_budget(self, tmp_path):
        transport = FakeTransport(commits=dict.fromkeys(UNITS, RefusalCode.BUDGET))
        assert _run(tmp_path, transport).stopped_because == "budget"

    def test_quorum_lost_keeps_the_model_of_the_last_complete_round(self, tmp_path):
        def misbehave(site, request):
            return [] if site != "north" and request.round_number == 3 else None

        states = []
        outcome = _run(
            tmp_path, FakeTransport(misbehave=misbehave), replace(PLAN, min_sites=2), on_round=states.append
        )
        assert outcome.stopped_because == "quorum"
        assert outcome.state is states[-1]
        assert outcome.state.rounds_completed == 2
        assert "1 sites answered round 3, min_sites is 2 (east: no answer; west: no answer)" in outcome.detail
        assert len(_lines(tmp_path)) == 2
        assert {s: len(es) for s, es in outcome.events.items()} == {"east": 2, "north": 3, "west": 2}

    def test_all_refusing_for_budget_stops_the_run(self, tmp_path):
        def misbehave(site, request):
            return [RefusalCode.BUDGET] if request.round_number == 2 else None

        outcome = _run(tmp_path, FakeTransport(misbehave=misbehave), replace(PLAN, min_sites=1))
        assert (outcome.stopped_because, outcome.state.rounds_completed) == ("budget", 1)

    def test_too_few_because_the_rest_has_no_budget_is_a_budget_stop_too(self, tmp_path):
        misbehave = lambda site, r: [RefusalCode.BUDGET] if site == "east" else None  # noqa: E731
        assert _run(tmp_path, FakeTransport(misbehave=misbehave)).stopped_because == "budget"

    @pytest.mark.parametrize("other", [[RefusalCode.EXPIRED], []])
    def test_budget_of_some_is_no_budget_stop(self, tmp_path, other):
        def misbehave(site, request):
            return other if site == "east" else [RefusalCode.BUDGET]

        assert _run(tmp_path, FakeTransport(misbehave=misbehave)).stopped_because == "quorum"

    @pytest.mark.parametrize("where", ["describe", "commit", "train"])
    def test_interrupt_keeps_the_last_complete_round(self, tmp_path, where):
        transport = FakeTransport()

        def interrupt(*args):
            raise KeyboardInterrupt

        def misbehave(site, request):
            if site == "north" and request.round_number == 3:
                raise KeyboardInterrupt

        if where == "train":
            transport.misbehave = misbehave
        else:
            setattr(transport, where, interrupt)
        outcome = _run(tmp_path, transport)
        assert outcome.stopped_because == "interrupted"
        assert outcome.state.rounds_completed == (2 if where == "train" else 0)
        if where == "train":
            assert load(tmp_path / "checkpoint").rounds_completed == 2
            assert len(outcome.events["east"]) == 3  # its release of round 3 had come
            assert len(outcome.events["north"]) == 2

    def test_weights_that_do_not_move_fail_loudly(self, tmp_path):
        zero = lambda s, r: [replace(_release(r), values=np.zeros(SIZE, np.float32))]  # noqa: E731
        with pytest.raises(FedpeftError, match="first round changed no weight"):
            _run(tmp_path, FakeTransport(misbehave=zero))

    def test_one_answer_cannot_outweigh_the_others(self, tmp_path):
        huge = lambda s, r: [replace(_release(r), values=np.full(SIZE, 3e38, np.float32))]  # noqa: E731
        misbehave = lambda s, r: huge(s, r) if s == "west" else None  # noqa: E731
        plan = replace(PLAN, min_sites=2)
        outcome = _run(tmp_path, FakeTransport(misbehave=misbehave), plan)
        assert outcome.stopped_because == "completed"
        assert {line["round"]: line["dropped"] for line in _lines(tmp_path)} == {
            number: {"west": "too large"} for number in (1, 2, 3)
        }
        assert len(outcome.events["west"]) == 3  # it has paid for them

    def test_weights_that_are_not_finite_fail_loudly(self, tmp_path):
        with (
            np.errstate(over="ignore"),
            pytest.raises(FedpeftError, match="round 1 made weights that are not finite"),
        ):
            _run(tmp_path, optimizer=Sgd(1e300, 0.0))
        assert load(tmp_path / "checkpoint").rounds_completed == 0

    def test_folder_that_cannot_be_written_stops_before_anything_is_committed(self, tmp_path):
        (tmp_path / "file").write_text("")
        transport = FakeTransport()
        with pytest.raises(RunDirectoryError):
            _run(tmp_path / "file", transport)
        assert transport.committed == {}


class TestAllocation:
    def test_a_round_is_asked_with_scales_that_only_earlier_releases_decide(self, tmp_path):
        plan = replace(PLAN, learning_rates=(0.5,) * 5, allocator=Allocator(Instability(), LAYOUT, 1.0))
        same, other = FakeTransport(), FakeTransport(misbehave=_ten_times_in_round_three)
        for transport, folder in ((same, "same"), (other, "other")):
            (tmp_path / folder).mkdir()
            _run(tmp_path / folder, transport, plan)
        scales = [[asked["north"].scales for asked in t.requests] for t in (same, other)]
        assert scales[0][:3] == scales[1][:3]
        assert scales[0][3] != scales[1][3]
        assert all(len({r.scales for r in asked.values()}) == 1 for asked in same.requests)

    def test_what_is_observed_is_the_mean_gradient_and_its_known_noise(self, tmp_path):
        seen = []

        class Spy(Allocator):
            def observe(self, statistics, observation):
                seen.append(observation)
                return statistics

        transport = FakeTransport()
        outcome = _run(
            tmp_path, transport, replace(PLAN, learning_rates=(0.5,), allocator=Spy(Uniform(), LAYOUT, 2.0))
        )
        (observation,) = seen
        moved = outcome.state.adapter.astype(float) - _fresh().adapter
        np.testing.assert_allclose(observation.gradient, -moved / (0.5 * 2), rtol=1e-4)
        # Each of 2 steps at site k adds noise of standard deviation multiplier / (rate * units) to its mean.
        total = RATE * sum(UNITS.values())
        variance = sum(
            (RATE * UNITS[s] / total) ** 2 * 2 * (m / (RATE * UNITS[s])) ** 2 for s, m in MULTIPLIERS.items()
        )
        assert observation.unit_noise == pytest.approx(variance / 2**2)
        assert observation.adapter.tobytes() == _fresh().adapter.tobytes()
        assert observation.scales == (2.0, 2.0)

    def test_a_site_that_did_not_answer_leaves_the_noise_too(self, tmp_path):
        silent = FakeTransport(misbehave=lambda s, r: [] if s == "west" else None)
        seen = []

        class Spy(Allocator):
            def observe(self, statistics, observation):
                seen.append(observation.unit_noise)
                return statistics

        allocator = Spy(Uniform(), LAYOUT, 2.0)
        _run(tmp_path, silent, replace(PLAN, learning_rates=(0.5,), min_sites=2, allocator=allocator))
        total = RATE * (UNITS["east"] + UNITS["north"])
        variance = (MULTIPLIERS["east"] ** 2 + MULTIPLIERS["north"] ** 2) / (2 * total**2)
        assert seen == [pytest.approx(variance)]


def _ten_times_in_round_three(site, request):
    release = _release(request)
    return [replace(release, values=10 * release.values)] if request.round_number == 3 else None


class TestResume:
    @pytest.mark.parametrize("optimizer", [Sgd(0.7, 0.01), Adam(0.05, 0.01, 0.9)], ids=["sgd", "adam"])
    @pytest.mark.parametrize("stop_in", [1, 2, 4, 5])
    def test_equals_an_uninterrupted_run_bit_for_bit(self, tmp_path, stop_in, optimizer):
        def misbehave(site, request):
            if (site, request.round_number) == ("north", stop_in):
                raise KeyboardInterrupt

        (tmp_path / "whole").mkdir()
        (tmp_path / "parts").mkdir()
        whole_transport, first, second = FakeTransport(), FakeTransport(misbehave=misbehave), FakeTransport()
        plan = replace(
            PLAN, learning_rates=(0.5,) * 5, allocator=Allocator(Instability(), LAYOUT, 1.0, drop_after=3)
        )
        whole = _run(tmp_path / "whole", whole_transport, plan, optimizer=optimizer)
        _run(tmp_path / "parts", first, plan, optimizer=optimizer)
        start = load(tmp_path / "parts" / "checkpoint")
        assert start.rounds_completed == stop_in - 1
        never = lambda facts: pytest.fail("schedules are fixed once in the life of a run")  # noqa: E731
        resumed = _run(tmp_path / "parts", second, plan, start, optimizer=optimizer, schedule=never)

        assert resumed.stopped_because == "completed"
        assert len({request["east"].scales for request in whole_transport.requests}) > 2, "nothing was learnt"
        assert resumed.state.adapter.tobytes() == whole.state.adapter.tobytes()
        assert resumed.events == whole.events
        assert resumed.state.ledger_heads == whole.state.ledger_heads
        assert [r["update_norm"] for r in _lines(tmp_path / "parts")] == [
            r["update_norm"] for r in _lines(tmp_path / "whole")
        ]
        assert second.committed == first.committed
        asked = {
            r.request_id: r.digest()
            for rounds in (*first.requests, *second.requests)
            for r in rounds.values()
        }
        assert asked == {
            r.request_id: r.digest() for rounds in whole_transport.requests for r in rounds.values()
        }

    def test_the_interrupted_round_is_asked_again_with_the_same_content(self, tmp_path):
        def misbehave(site, request):
            if (site, request.round_number) == ("west", 2):
                raise KeyboardInterrupt

        first, second = FakeTransport(misbehave=misbehave), FakeTransport()
        _run(tmp_path, first)
        _run(tmp_path, second, start=load(tmp_path / "checkpoint"))
        for site in ("east", "north"):
            assert first.requests[1][site].digest() == second.requests[0][site].digest()

    def test_goes_on_after_a_lost_quorum(self, tmp_path):
        lost = FakeTransport(misbehave=lambda s, r: [] if r.round_number == 2 and s == "east" else None)
        assert _run(tmp_path, lost).stopped_because == "quorum"
        resumed = _run(tmp_path, start=load(tmp_path / "checkpoint"))
        assert (resumed.stopped_because, resumed.state.rounds_completed) == ("completed", 3)

    def test_a_site_that_is_away_is_named_and_the_rest_go_on(self, tmp_path):
        lost = FakeTransport(misbehave=lambda s, r: [] if r.round_number == 2 else None)
        _run(tmp_path, lost)
        outcome = _run(
            tmp_path,
            FakeTransport(sites=["east", "north"]),
            replace(PLAN, min_sites=2),
            start=load(tmp_path / "checkpoint"),
        )
        assert outcome.left_out == {"west": "not connected"}
        assert outcome.stopped_because == "completed"

    def test_the_head_that_was_seen_is_echoed_not_the_one_a_site_claims_now(self, tmp_path):
        lost = FakeTransport(misbehave=lambda s, r: [] if r.round_number == 2 else None)
        _run(tmp_path, lost)
        transport = FakeTransport()
        _run(tmp_path, transport, start=load(tmp_path / "checkpoint"))
        assert transport.requests[0]["east"].ledger_head == "head:run:east:1"

    def test_rounds_file_is_made_whole_again(self, tmp_path):
        lost = FakeTransport(misbehave=lambda s, r: [] if r.round_number == 3 else None)
        _run(tmp_path, lost)
        (tmp_path / "rounds.jsonl").write_text('{"round": 1}\n{"rou')  # as a crash may leave it
        _run(tmp_path, start=load(tmp_path / "checkpoint"))
        assert [line["round"] for line in _lines(tmp_path)] == [1, 2, 3]
