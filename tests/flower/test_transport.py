# SPDX-License-Identifier: Apache-2.0
"""The transport over the in-process grid, and over a scripted one with a clock of its own."""

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid

from fedpeft.errors import ConfigError, Refusal
from fedpeft.flower import messages
from fedpeft.flower.client import build_client_app
from fedpeft.flower.grid import InProcessGrid
from fedpeft.flower.transport import FlowerTransport
from fedpeft.types import RefusalCode, Schedule

SCHEDULE = Schedule.constant("run", 1.1, 0.1, 6, "record")


class ScriptedGrid(Grid):
    """A grid as a deployment has: nodes connect and replies arrive at set times, and only sleep moves time.

    ``delays``: seconds until a node replies; ``None`` for never. ``joins``: when a node connects.
    """

    def __init__(self, client_app, num_nodes, delays=None, joins=None):
        self.inner = InProcessGrid(client_app, num_nodes)
        self.now = 0.0
        self.slept: list[float] = []
        self.delays = delays or {}
        self.joins = joins or {}
        self.replies: list[tuple[float, Message]] = []
        self.errors: dict[int, Error] = {}
        self.unpushable: dict[int, list] = {}
        self.pushed: list[Message] = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds

    def _index(self, node):
        return list(self.inner.get_node_ids()).index(node)

    def get_node_ids(self):
        return [n for n in self.inner.get_node_ids() if self.joins.get(self._index(n), 0.0) <= self.now]

    def push_messages(self, messages_):
        ids = []
        for message in messages_:
            self.pushed.append(message)
            index = self._index(message.metadata.dst_node_id)
            if index in self.unpushable:
                return self.unpushable[index]
            (message_id,) = self.inner.push_messages([message])
            ids.append(message_id)
            delay = self.delays.get(index, 0.0)
            (reply,) = self.inner.pull_messages([message_id])
            if index in self.errors:
                message.metadata.__dict__["_message_id"] = message_id
                reply = Message(self.errors[index], reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
            if delay is not None:
                self.replies.append((self.now + delay, reply))
        return ids

    def pull_messages(self, message_ids):
        wanted = set(message_ids)
        due = [r for at, r in self.replies if at <= self.now and r.metadata.reply_to_message_id in wanted]
        due.sort(key=lambda reply: reply.metadata.reply_to_message_id, reverse=True)  # no order is promised
        self.replies = [(at, r) for at, r in self.replies if r not in due]
        return due

    def set_run(self, run):
        raise NotImplementedError

    run = property(lambda self: self.inner.run)

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def send_and_receive(self, *args, **kwargs):
        raise AssertionError("sleeps three seconds a look and waits for ever")


@pytest.fixture
def scripted(make_sites):
    def make(num_nodes, **script):
        sites, find = make_sites(num_nodes)
        grid = ScriptedGrid(build_client_app(find), num_nodes, **script)
        return sites, grid, FlowerTransport(grid, poll_s=0.3, clock=grid.clock, sleep=grid.sleep)

    return make


def _requests(request_for, sites, adapter=None):
    return {site.name: request_for(site.name, adapter) for site in sites}


class TestInProcess:
    @pytest.mark.parametrize("num_nodes", [1, 3, 50])
    def test_a_round_of_any_number_of_nodes(self, make_sites, request_for, num_nodes):
        sites, find = make_sites(num_nodes)
        transport = FlowerTransport(InProcessGrid(build_client_app(find), num_nodes), sleep=pytest.fail)
        facts = transport.describe(num_nodes, 60.0)
        assert list(facts) == [site.name for site in sites]
        assert transport.commit(dict.fromkeys(facts, SCHEDULE), 60.0) == dict.fromkeys(facts)
        answers = list(transport.train(_requests(request_for, sites), 60.0))
        assert [name for name, _ in answers] == list(facts)
        for site, (_, update) in zip(sites, answers, strict=True):
            assert update.values.tobytes() == site.train(request_for(site.name)).values.tobytes()

    def test_one_reply_is_held_at_a_time(self, make_sites, request_for):
        sites, find = make_sites(5)
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 5))
        transport.describe(5, 60.0)
        for num_answers, _ in enumerate(transport.train(_requests(request_for, sites), 60.0), start=1):
            assert sum(call == "train" for site in sites for call, _ in site.calls) == num_answers

    def test_all_requests_share_one_encoded_adapter(self, make_sites, request_for, monkeypatch):
        sites, find = make_sites(5)
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 5))
        transport.describe(5, 60.0)
        encoded = []
        real = messages.encode_vector
        monkeypatch.setattr(messages, "encode_vector", lambda v, *more: encoded.append(v) or real(v, *more))
        answers = transport.train(_requests(request_for, sites, np.zeros(4, np.float32)), 60.0)
        next(iter(answers))
        assert len(encoded) == 2  # the adapter, and the first site's own release

    def test_votes_come_in_order_and_share_their_bins(self, make_sites, vote_for, monkeypatch):
        sites, find = make_sites(3, vote=Refusal(RefusalCode.POLICY, "secret"))
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 3))
        transport.describe(3, 60.0)
        first = vote_for("site-00")
        requests = {site.name: replace(first, request_id=f"run:{site.name}:v") for site in sites}
        encoded = []
        real = messages.encode_vector
        monkeypatch.setattr(messages, "encode_vector", lambda v, *more: encoded.append(v) or real(v, *more))
        answers = list(transport.vote(requests, 60.0))
        assert [site for site, _ in answers] == ["site-00", "site-01", "site-02"]
        assert answers[0][1] is RefusalCode.POLICY
        assert [answer.request_id for _, answer in answers[1:]] == ["run:site-01:v", "run:site-02:v"]
        assert len(encoded) == 3  # the bins, and two histograms

    def test_evaluations_come_in_order_and_share_their_adapter(self, make_sites, evaluation_for, monkeypatch):
        sites, find = make_sites(3, evaluate=Refusal(RefusalCode.POLICY, "secret"))
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 3))
        transport.describe(3, 60.0)
        first = evaluation_for("site-00")
        requests = {site.name: replace(first, request_id=f"run:{site.name}:e") for site in sites}
        encoded = []
        real = messages.encode_vector
        monkeypatch.setattr(messages, "encode_vector", lambda v, *more: encoded.append(v) or real(v, *more))
        answers = list(transport.evaluate(requests, 60.0))
        assert [site for site, _ in answers] == ["site-00", "site-01", "site-02"]
        assert answers[0][1] is RefusalCode.POLICY
        assert [answer.request_id for _, answer in answers[1:]] == ["run:site-01:e", "run:site-02:e"]
        assert [answer.correct for _, answer in answers[1:]] == [4.0, 4.0]
        assert len(encoded) == 1

    def test_a_result_is_brought_to_every_site_and_who_refuses_is_told(self, make_sites, delivery):
        sites, find = make_sites(3, deliver=Refusal(RefusalCode.POLICY, "secret"))
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 3))
        transport.describe(3, 60.0)
        names = [site.name for site in sites]
        answers = transport.deliver(dict.fromkeys([*names, "nobody"], delivery), 60.0)
        assert answers == {names[0]: RefusalCode.POLICY, names[1]: None, names[2]: None}
        assert [site.calls[-1][1].content_digest() for site in sites] == [delivery.digest] * 3

    def test_fewer_nodes_than_asked_for_is_known_at_once(self, make_sites):
        _, find = make_sites(2)
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 2), sleep=pytest.fail)
        assert len(transport.describe(3, 3600.0)) == 2

    def test_a_straggler_is_missing_and_the_others_are_not_late(self, make_sites, request_for):
        now = [0.0]
        sites, find = make_sites(4)
        slow = sites[1].train
        sites[1].train = lambda request: (now.__setitem__(0, now[0] + 100), slow(request))[1]
        for site in (sites[0], sites[2], sites[3]):
            site.train = lambda request, train=site.train: (now.__setitem__(0, now[0] + 9), train(request))[1]
        clock = lambda: now[0]  # noqa: E731
        grid = InProcessGrid(build_client_app(find), 4, clock=clock)
        transport = FlowerTransport(grid, clock=clock, sleep=pytest.fail)
        transport.describe(4, 10.0)
        names = [name for name, _ in transport.train(_requests(request_for, sites), 10.0)]
        assert names == ["site-00", "site-02", "site-03"]

    def test_refusals_come_as_codes(self, make_sites, request_for):
        sites, find = make_sites(
            2, train=Refusal(RefusalCode.BUDGET, "secret"), commit=Refusal(RefusalCode.EXPIRED, "secret")
        )
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 2))
        facts = transport.describe(2, 60.0)
        assert transport.commit(dict.fromkeys(facts, SCHEDULE), 60.0) == {
            "site-00": RefusalCode.EXPIRED, "site-01": None,
        }  # fmt: skip
        answers = dict(transport.train(_requests(request_for, sites), 60.0))
        assert answers["site-00"] is RefusalCode.BUDGET
        assert answers["site-01"] is not RefusalCode.BUDGET

    def test_two_sites_of_one_name_are_refused(self, make_sites):
        sites, find = make_sites(3)
        sites[2].name = sites[0].name
        with pytest.raises(ConfigError, match=r"identity: two nodes call themselves 'site-00'"):
            FlowerTransport(InProcessGrid(build_client_app(find), 3)).describe(3, 60.0)

    def test_a_node_without_a_proper_site_is_left_out(self, make_sites, caplog):
        sites, find = make_sites(3)
        sites[1].name = "../../north"
        with caplog.at_level(logging.WARNING):
            facts = FlowerTransport(InProcessGrid(build_client_app(find), 3)).describe(2, 60.0)
        assert list(facts) == ["site-00", "site-02"]
        assert "no site (malformed: name)" in caplog.text

    def test_a_site_that_is_not_connected_is_missing(self, make_sites, request_for):
        sites, find = make_sites(1)
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 1))
        transport.describe(1, 60.0)
        requests = {"elsewhere": request_for("elsewhere"), **_requests(request_for, sites)}
        assert [name for name, _ in transport.train(requests, 60.0)] == ["site-00"]
        assert transport.commit({"elsewhere": SCHEDULE}, 60.0) == {}


class TestDescribeOverANetwork:
    def test_waits_for_nodes_that_connect_later(self, scripted):
        _, grid, transport = scripted(3, joins={1: 5.0, 2: 9.0})
        assert len(transport.describe(3, 60.0)) == 3
        assert 9.0 <= grid.now < 10.0

    def test_returns_when_the_deadline_passes(self, scripted):
        _, grid, transport = scripted(3, joins={2: 1000.0})
        assert list(transport.describe(3, 20.0)) == ["site-00", "site-01"]
        assert grid.now == pytest.approx(20.0)

    def test_returns_as_soon_as_there_are_enough(self, scripted):
        _, grid, transport = scripted(3, joins={2: 1000.0})
        assert len(transport.describe(2, 20.0)) == 2
        assert grid.now == 0.0

    def test_nobody_at_all_ends_too(self, scripted):
        _, grid, transport = scripted(2, joins={0: 1000.0, 1: 1000.0})
        assert transport.describe(2, 5.0) == {}
        assert grid.now == pytest.approx(5.0)

    def test_a_node_is_asked_once(self, scripted):
        _, grid, transport = scripted(2, delays={1: None})
        transport.describe(2, 5.0)
        assert len(grid.pushed) == 2

    def test_a_site_that_is_not_there_yet_is_asked_again_now_and_then(self, scripted):
        sites, grid, transport = scripted(2)
        there = sites[1].facts

        def facts():
            if grid.now < 15.0:
                raise Refusal(RefusalCode.UNAVAILABLE)
            return there()

        sites[1].facts = facts
        assert list(transport.describe(2, 60.0)) == ["site-00", "site-01"]
        assert 15.0 <= grid.now < 25.0
        assert len(grid.pushed) == 4  # once to the one, at 0, 10 and 20 s to the other


class TestTrainOverANetwork:
    def _train(self, scripted, request_for, num_nodes, deadline_s=10.0, **script):
        sites, grid, transport = scripted(num_nodes, **script)
        delays, grid.delays = grid.delays, {}
        transport.describe(num_nodes, 60.0)
        grid.delays, grid.now, grid.slept = delays, 0.0, []
        answers = transport.train(_requests(request_for, sites), deadline_s)
        return grid, answers

    def test_answers_are_in_the_order_of_requests_whatever_arrives_first(self, scripted, request_for):
        _, answers = self._train(scripted, request_for, 4, delays={0: 3.0, 1: 1.0, 2: 2.0})
        assert [name for name, _ in answers] == ["site-00", "site-01", "site-02", "site-03"]

    def test_an_answer_is_handed_on_as_soon_as_all_before_it_are(self, scripted, request_for):
        grid, answers = self._train(scripted, request_for, 3, delays={1: 3.0, 2: 1.0})
        times = {name: grid.now for name, _ in answers}
        assert times["site-00"] < 1.0
        assert times["site-01"] == times["site-02"] == pytest.approx(3.0, abs=0.31)

    def test_polls_at_its_interval_and_not_at_all_once_all_have_come(self, scripted, request_for):
        grid, answers = self._train(scripted, request_for, 2, delays={0: 1.0, 1: 1.0})
        assert len(list(answers)) == 2
        assert set(grid.slept) == {0.3}
        assert grid.now == pytest.approx(1.2)

    def test_whoever_is_late_is_missing(self, scripted, request_for):
        grid, answers = self._train(scripted, request_for, 3, delays={0: 10.5, 2: None})
        assert [name for name, _ in answers] == ["site-01"]
        assert grid.now == pytest.approx(10.0)

    def test_an_answer_at_the_deadline_is_in_time(self, scripted, request_for):
        _, answers = self._train(scripted, request_for, 1, delays={0: 10.0})
        assert [name for name, _ in answers] == ["site-00"]

    def test_a_late_answer_is_not_taken_for_the_next_round(self, scripted, request_for):
        sites, grid, transport = scripted(2)
        transport.describe(2, 60.0)
        grid.delays = {0: 12.0}
        assert [name for name, _ in transport.train(_requests(request_for, sites), 10.0)] == ["site-01"]
        grid.now, grid.delays = 13.0, {0: 1.0}
        requests = {site.name: request_for(site.name, number=2) for site in sites}
        answers = dict(transport.train(requests, 10.0))
        assert [a.request_id for a in answers.values()] == ["run:site-00:2", "run:site-01:2"]

    def test_messages_live_as_long_as_the_round(self, scripted, request_for):
        grid, answers = self._train(scripted, request_for, 2, deadline_s=77.0)
        list(answers)
        assert [message.metadata.ttl for message in grid.pushed[-2:]] == [77.0, 77.0]

    @pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED])
    def test_an_error_from_the_superlink_is_matched_by_what_it_replies_to(
        self, scripted, request_for, code, caplog
    ):
        sites, grid, transport = scripted(3)
        transport.describe(3, 60.0)
        grid.errors = {1: Error(code, "Node Unavailable")}
        names = [name for name, _ in transport.train(_requests(request_for, sites), 60.0)]
        assert names == ["site-00", "site-02"]
        assert grid.now == 0.0  # an error is known at once: nobody waits for the deadline
        assert "site-01: no answer" in caplog.text

    @pytest.mark.parametrize("ids", [[], [None], [""]])
    def test_a_message_that_cannot_be_pushed_is_a_missing_answer(self, scripted, request_for, ids):
        sites, grid, transport = scripted(3)
        transport.describe(3, 60.0)
        grid.unpushable = {0: ids}
        names = [name for name, _ in transport.train(_requests(request_for, sites), 60.0)]
        assert names == ["site-01", "site-02"]

    def test_a_reply_that_comes_twice_counts_once(self, scripted, request_for):
        sites, grid, transport = scripted(2)
        transport.describe(2, 60.0)
        real = grid.pull_messages
        grid.pull_messages = lambda ids: list(itertools.chain.from_iterable((r, r) for r in real(ids)))
        names = [name for name, _ in transport.train(_requests(request_for, sites), 60.0)]
        assert names == ["site-00", "site-01"]

    def test_a_reply_to_nothing_that_was_asked_is_ignored(self, scripted, request_for):
        sites, grid, transport = scripted(1)
        transport.describe(1, 60.0)
        real, strays = grid.pull_messages, []

        def pull(ids):
            replies = real(ids)
            for reply in replies:
                stray = Message(reply.content, reply_to=grid.pushed[-1])
                stray.metadata.__dict__["_reply_to_message_id"] = "another run's"
                strays.append(stray)
            return [*strays, *replies]

        grid.pull_messages = pull
        assert len(list(transport.train(_requests(request_for, sites), 60.0))) == 1
        assert strays

    def test_garbage_comes_as_a_code(self, scripted, request_for):
        sites, grid, transport = scripted(2)
        transport.describe(2, 60.0)
        real = grid.pull_messages

        def pull(ids):
            replies = real(ids)
            for reply in replies:
                if reply.metadata.src_node_id == next(iter(grid.inner.get_node_ids())):
                    reply.content["fedpeft"]["loss"] = 0.25
                else:
                    reply.content["fedpeft"]["protocol"] = 99
            return replies

        grid.pull_messages = pull
        answers = dict(transport.train(_requests(request_for, sites), 60.0))
        assert answers == {"site-00": RefusalCode.MALFORMED, "site-01": RefusalCode.PROTOCOL}


def test_commit_over_a_network_leaves_out_who_is_silent(scripted):
    _, grid, transport = scripted(3)
    facts = transport.describe(3, 60.0)
    grid.delays = {1: None}
    assert transport.commit(dict.fromkeys(facts, SCHEDULE), 10.0) == {"site-00": None, "site-02": None}
    assert grid.now == pytest.approx(10.0)
