# SPDX-License-Identifier: Apache-2.0
"""The ClientApp: reads a message, asks the site, sends its answer. It holds no state and sees no data.

Whatever goes wrong leaves as an enumerated refusal code; the text of an exception can tell about private
data, so it stays in this process's log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedpeft.delivery import Delivery
from fedpeft.errors import Refusal
from fedpeft.flower import delivering, messages
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.types import PrivateUpdate, RefusalCode, Schedule, SiteFacts, TrainRequest

_log = logging.getLogger(__name__)


class SitePort(Protocol):
    """The few things that may be asked of a site."""

    def facts(self) -> SiteFacts:
        """Public facts."""
        ...

    def commit(self, schedule: Schedule) -> None:
        """Record a whole run; raises ``Refusal``."""
        ...

    def train(self, request: TrainRequest) -> PrivateUpdate:
        """Answer one round's request; raises ``Refusal``."""
        ...

    def vote(self, request: VoteRequest) -> PrivateHistogram:
        """Answer a vote; raises ``Refusal``."""
        ...

    def evaluate(self, request: EvaluateRequest) -> PrivateMetric:
        """Answer a private evaluation; raises ``Refusal``."""
        ...

    def deliver(self, delivery: Delivery) -> None:
        """Keep a run's adapter and result; raises ``Refusal``."""
        ...


FindSite = Callable[[Context], SitePort]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The functions behind the message types.

    Methods of a module's class and not closures, so that Flower's simulation can send the app to its
    workers by reference and a worker keeps the sites that it has opened.
    """

    find_site: FindSite

    def describe(self, message: Message, context: Context) -> Message:
        """``query.describe``: the site's facts."""

        def serve(content: RecordDict) -> RecordDict:
            messages.decode_describe(content)
            return messages.encode_facts(self.find_site(context).facts())

        return _answer(message, serve)

    def commit(self, message: Message, context: Context) -> Message:
        """``query.commit``: consent to a schedule."""

        def serve(content: RecordDict) -> RecordDict:
            schedule = messages.decode_schedule(content)
            self.find_site(context).commit(schedule)
            return messages.encode_consent()

        return _answer(message, serve)

    def train(self, message: Message, context: Context) -> Message:
        """``train``: a release."""

        def serve(content: RecordDict) -> RecordDict:
            request = messages.decode_request(content)
            return messages.encode_update(self.find_site(context).train(request), request.wire_type)

        return _answer(message, serve)

    def vote(self, message: Message, context: Context) -> Message:
        """``query.vote``: a noised histogram."""

        def serve(content: RecordDict) -> RecordDict:
            request = messages.decode_vote(content)
            return messages.encode_histogram(self.find_site(context).vote(request))

        return _answer(message, serve)

    def evaluate(self, message: Message, context: Context) -> Message:
        """``query.evaluate``: a noised count."""

        def serve(content: RecordDict) -> RecordDict:
            request = messages.decode_evaluate(content)
            return messages.encode_metric(self.find_site(context).evaluate(request))

        return _answer(message, serve)

    def deliver(self, message: Message, context: Context) -> Message:
        """``query.deliver``: keep what a run ends with."""

        def serve(content: RecordDict) -> RecordDict:
            delivery = delivering.decode_delivery(content)
            self.find_site(context).deliver(delivery)
            return messages.encode_consent()

        return _answer(message, serve)


def build_client_app(find_site: FindSite) -> ClientApp:
    """A ClientApp over the site that belongs to a context.

    Args:
        find_site: the site of a node; called for every message, so it should keep what it opens. A
            function of a module where the app shall run under Flower's own simulation.
    """
    app, handlers = ClientApp(), Handlers(find_site)
    app.query("describe")(handlers.describe)
    app.query("commit")(handlers.commit)
    app.query("vote")(handlers.vote)
    app.query("evaluate")(handlers.evaluate)
    app.query("deliver")(handlers.deliver)
    app.train()(handlers.train)
    return app


def _answer(message: Message, serve: Callable[[RecordDict], RecordDict]) -> Message:
    try:
        content = serve(message.content)
    except Refusal as refusal:
        _log.warning("refused %s: %s", message.metadata.message_type, refusal)
        content = messages.encode_refusal(refusal.code)
    except Exception:  # whatever it is, its text must not leave
        _log.exception("failed to serve %s", message.metadata.message_type)
        content = messages.encode_refusal(RefusalCode.UNAVAILABLE)
    return Message(content, reply_to=message)
