# SPDX-License-Identifier: Apache-2.0
"""A Grid inside one process: the same two apps as in a deployment, without a SuperLink.

A client runs when its reply is pulled, one reply a pull and in the order in which the messages were pushed,
so sums are reproducible and a round holds one reply at a time whatever the number of nodes.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY, SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

_log = logging.getLogger(__name__)

Config = Mapping[str, bool | int | float | str]


class InProcessGrid(Grid):  # type: ignore[misc]  # flwr is not followed by the type checker
    """Nodes that are calls of one ClientApp.

    Each node has a context of its own, whose state lives as long as the grid. Messages are copied on their
    way, as a network would, but for the bytes of arrays, which nobody can change. An exception of the app
    becomes an error reply, and so does an answer that takes longer than its message lives: clients run one
    after another here but stand for machines that run side by side, so each is timed alone.
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_nodes: int,
        run_config: Config | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the nodes.

        Args:
            client_app: called as ``client_app(message, context)``.
            num_nodes: node ``i`` has ``partition-id`` i in its ``node_config``, as in Flower's simulation.
            run_config: of every context.
            clock: seconds.
        """
        self._client_app = client_app
        self._clock = clock
        self._pending: dict[str, Message] = {}
        self._num_pushed = 0
        run_id = secrets.randbits(62)
        self._contexts = {
            SUPERLINK_NODE_ID + 1 + i: Context(
                run_id=run_id,
                node_id=SUPERLINK_NODE_ID + 1 + i,
                node_config={PARTITION_ID_KEY: i, NUM_PARTITIONS_KEY: num_nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for i in range(num_nodes)
        }
        self.set_run(Run.create_empty(run_id))

    def set_run(self, run: Run) -> None:
        """Become the grid of ``run``."""
        self._run = run
        # Flower makes messages under an identity that it keeps in the process, not in the grid.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run.run_id, SUPERLINK_NODE_ID, 1

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message, by the interface's older way."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Every node, from the start."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages; nothing runs yet."""
        message_ids = []
        for message in messages:
            self._num_pushed += 1
            message_id = str(self._num_pushed)
            metadata = message.metadata
            copy = Message(
                _copied(message.content), metadata.dst_node_id, metadata.message_type,
                ttl=metadata.ttl, group_id=metadata.group_id,
            )  # fmt: skip
            copy.metadata.__dict__["_message_id"] = message_id
            self._pending[message_id] = copy
            message_ids.append(message_id)
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the client of the first message that waits among these; its reply, alone, or nothing."""
        wanted = set(message_ids)
        for message_id in self._pending:
            if message_id in wanted:
                return [self._reply(self._pending.pop(message_id))]
        return []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies in the order of the messages; ``timeout`` is each message's own time to live."""
        del timeout
        message_ids = list(self.push_messages(messages))
        return [reply for message_id in message_ids for reply in self.pull_messages([message_id])]

    def _reply(self, message: Message) -> Message:
        context = self._contexts.get(message.metadata.dst_node_id)
        if context is None:
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "no such node"), reply_to=message)
        started = self._clock()
        try:
            reply = self._client_app(message, context)
            content = _copied(reply.content)
        except Exception as error:
            _log.exception("node %d: the ClientApp raised", message.metadata.dst_node_id)
            return Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__), reply_to=message
            )
        if self._clock() - started > message.metadata.ttl:
            return Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "too late"), reply_to=message)
        return Message(content, reply_to=message)


def server_context(run_config: Config | None = None) -> Context:
    """The context that a ServerApp is called with, beside the grid that was made last.

    Args:
        run_config: what ``flwr run`` would have been given.
    """
    return Context(
        run_id=TaskIdentity.run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(run_config or {}),
    )


def _copied(content: RecordDict) -> RecordDict:
    return RecordDict({name: _copied_record(record) for name, record in content.items()})


def _copied_record(record: Any) -> Any:
    if isinstance(record, ArrayRecord):
        return ArrayRecord(dict(record))
    copied = {key: list(value) if isinstance(value, list) else value for key, value in record.items()}
    return type(record)(copied)
