# SPDX-License-Identifier: Apache-2.0
"""Sites over a Flower Grid: our own loop of pushing and pulling, with a deadline everywhere.

Flower's strategies wait for ever for nodes, and its ``send_and_receive`` sleeps three seconds between
looks; this loop does neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedpeft.delivery import Delivery
from fedpeft.errors import ConfigError, Refusal
from fedpeft.flower import delivering, messages
from fedpeft.flower.grid import InProcessGrid
from fedpeft.privacy.histogram import VoteAnswer, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, MetricAnswer
from fedpeft.types import Answer, RefusalCode, Schedule, SiteFacts, TrainRequest

_log = logging.getLogger(__name__)

_ASK_AGAIN_S = 10.0

Key = TypeVar("Key")
T = TypeVar("T")
Clock = Callable[[], float]


class FlowerTransport:
    """``fedpeft.types.Transport`` over any Grid: a deployment's, a Flower simulation's, or in-process.

    A site is known by the name in its facts and reached at the node that sent them. An error reply (a node
    that is gone, an app that crashed, a message that expired) counts as no answer.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        poll_s: float = 0.3,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use ``grid``.

        Args:
            grid: of the run.
            poll_s: seconds between two looks for replies; an in-process grid is never waited for.
            clock: seconds.
            sleep: waits.
        """
        self._grid = grid
        self._poll_s = poll_s
        self._clock = clock
        self._sleep = sleep
        self._nodes: dict[str, int] = {}

    def describe(self, num_sites: int, deadline_s: float) -> dict[str, SiteFacts]:
        """Ask nodes as they connect, until ``num_sites`` sites are known or the deadline passes.

        A node whose site is not there yet, or that gave no answer, is asked again after a while.

        Raises:
            ConfigError: two nodes give the same site name.
        """
        self._nodes = {}
        sites: dict[str, SiteFacts] = {}
        exchange: _Exchange[int] = self._exchange(deadline_s)
        due: dict[int, float] = {}
        while True:
            now, known = self._clock(), set(self._nodes.values())
            for node in self._grid.get_node_ids():
                if node not in known and not exchange.waits_for(node) and now >= due.get(node, now):
                    due[node] = now + _ASK_AGAIN_S
                    exchange.send(node, node, "query.describe", messages.encode_describe())
            for node, content in exchange.collect():
                self._enroll(node, content, sites)
            if len(sites) >= num_sites or not exchange.goes_on():
                return dict(sorted(sites.items()))

    def commit(self, schedules: Mapping[str, Schedule], deadline_s: float) -> dict[str, RefusalCode | None]:
        """Ask each site to commit its schedule; ``None`` is consent, and a silent site is left out."""
        exchange: _Exchange[str] = self._exchange(deadline_s)
        for site, schedule in schedules.items():
            self._send(exchange, site, "query.commit", messages.encode_schedule(schedule))
        return {site: _consent(site, content) for site, content in exchange.replies()}

    def train(self, requests: Mapping[str, TrainRequest], deadline_s: float) -> Iterator[tuple[str, Answer]]:
        """Ask all sites at once; yield answers in the order of the requests, each as soon as it can be."""
        exchange: _Exchange[str] = self._exchange(deadline_s)
        shared = {(id(one.adapter), one.wire_type): one.adapter for one in requests.values()}
        adapters = {key: messages.encode_vector(vector, key[1]) for key, vector in shared.items()}
        for site, request in requests.items():
            adapter = adapters[id(request.adapter), request.wire_type]
            content = messages.encode_request(request, adapter)
            self._send(exchange, site, "train", content)
        del adapters
        for site, content in _in_order(list(requests), exchange):
            yield site, _release(site, content, messages.decode_update)

    def vote(
        self, requests: Mapping[str, VoteRequest], deadline_s: float
    ) -> Iterator[tuple[str, VoteAnswer]]:
        """Ask all sites at once; yield answers in the order of the requests, each as soon as it can be."""
        exchange: _Exchange[str] = self._exchange(deadline_s)
        shared = {id(request.bins): request.bins for request in requests.values()}
        bins = {key: messages.encode_vector(table.ravel()) for key, table in shared.items()}
        for site, request in requests.items():
            self._send(exchange, site, "query.vote", messages.encode_vote(request, bins[id(request.bins)]))
        for site, content in _in_order(list(requests), exchange):
            yield site, _release(site, content, messages.decode_histogram)

    def evaluate(
        self, requests: Mapping[str, EvaluateRequest], deadline_s: float
    ) -> Iterator[tuple[str, MetricAnswer]]:
        """Ask all sites at once; yield answers in the order of the requests, each as soon as it can be."""
        exchange: _Exchange[str] = self._exchange(deadline_s)
        shared = {id(request.adapter): request.adapter for request in requests.values()}
        adapters = {key: messages.encode_vector(vector) for key, vector in shared.items()}
        for site, request in requests.items():
            content = messages.encode_evaluate(request, adapters[id(request.adapter)])
            self._send(exchange, site, "query.evaluate", content)
        for site, content in _in_order(list(requests), exchange):
            yield site, _release(site, content, messages.decode_metric)

    def deliver(self, deliveries: Mapping[str, Delivery], deadline_s: float) -> dict[str, RefusalCode | None]:
        """Bring each site a run's adapter and result; ``None`` is consent, and a silent site is left out."""
        exchange: _Exchange[str] = self._exchange(deadline_s)
        for site, delivery in deliveries.items():
            self._send(exchange, site, "query.deliver", delivering.encode_delivery(delivery))
        return {site: _consent(site, content) for site, content in exchange.replies()}

    def _send(self, exchange: _Exchange[str], site: str, message_type: str, content: RecordDict) -> None:
        if site in self._nodes:
            exchange.send(site, self._nodes[site], message_type, content)

    def _enroll(self, node: int, content: RecordDict, sites: dict[str, SiteFacts]) -> None:
        try:
            facts = messages.decode_facts(content)
        except Refusal as refusal:
            _log.warning("node %d: no site (%s)", node, refusal)
            return
        if facts.name in sites:
            raise ConfigError(
                f"identity: two nodes call themselves {facts.name!r}; give each organization's policy a name "
                "of its own, and stop the node that is there twice"
            )
        sites[facts.name] = facts
        self._nodes[facts.name] = node

    def _exchange(self, deadline_s: float) -> _Exchange[Key]:
        return _Exchange(self._grid, deadline_s, self._poll_s, self._clock, self._sleep)


class _Exchange(Generic[Key]):
    """Messages under way, each under a key of the caller's, until a deadline."""

    def __init__(
        self, grid: Grid, deadline_s: float, poll_s: float, clock: Clock, sleep: Callable[[float], None]
    ) -> None:
        self._grid = grid
        self._deadline_s = deadline_s
        self._end = clock() + deadline_s
        self._poll_s = poll_s
        self._clock = clock
        self._sleep = sleep
        self._pending: dict[str, Key] = {}
        self._is_idle = False

    def send(self, key: Key, node: int, message_type: str, content: RecordDict) -> None:
        # One by one: of several messages, grids report in different ways which could not be pushed.
        message = Message(content, node, message_type, ttl=self._deadline_s)
        message_ids = list(self._grid.push_messages([message]))
        if message_ids and message_ids[0]:
            self._pending[message_ids[0]] = key
        else:
            _log.warning("%s: %s could not be sent", key, message_type)

    def collect(self) -> list[tuple[Key, RecordDict]]:
        """What has come since the last look."""
        found = []
        num_before = len(self._pending)
        for reply in self._grid.pull_messages(list(self._pending)) if self._pending else ():
            # An error's source is the SuperLink, so the message it replies to is what tells the site.
            message_id = reply.metadata.reply_to_message_id
            if message_id not in self._pending:
                continue
            key = self._pending.pop(message_id)
            if reply.has_content():
                found.append((key, reply.content))
            else:
                _log.warning("%s: no answer (%s)", key, reply.error)
        self._is_idle = len(self._pending) == num_before
        return found

    def waits_for(self, key: Key) -> bool:
        """Whether a message of this key is under way."""
        return key in self._pending.values()

    def goes_on(self) -> bool:
        """Whether there is anything to wait for; waits where nothing came."""
        if isinstance(self._grid, InProcessGrid):  # every node is there, and times its clients itself
            return bool(self._pending)
        left_s = self._end - self._clock()
        if left_s <= 0:
            return False
        if self._is_idle:
            self._sleep(min(self._poll_s, left_s))
        return True

    def replies(self) -> Iterator[tuple[Key, RecordDict]]:
        """All that come in time, as they come."""
        while self._pending:
            yield from self.collect()
            if not self.goes_on():
                return


def _consent(site: str, content: RecordDict) -> RefusalCode | None:
    try:
        messages.decode_consent(content)
    except Refusal as refusal:
        _log.warning("%s does not consent (%s)", site, refusal)
        return refusal.code
    return None


def _in_order(order: list[str], exchange: _Exchange[str]) -> Iterator[tuple[str, RecordDict]]:
    """Replies in the order of the sites, each as soon as those before it are there or the time is over."""
    arrived: dict[str, RecordDict] = {}
    for site, content in exchange.replies():
        arrived[site] = content
        while order and order[0] in arrived:
            first = order.pop(0)
            yield first, arrived.pop(first)
    for site in order:
        if site in arrived:
            yield site, arrived.pop(site)


def _release(site: str, content: RecordDict, decode: Callable[[RecordDict], T]) -> T | RefusalCode:
    try:
        return decode(content)
    except Refusal as refusal:
        _log.warning("%s sent no release (%s)", site, refusal)
        return refusal.code
