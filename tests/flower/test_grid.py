# SPDX-License-Identifier: Apache-2.0
"""The in-process grid with any ClientApp, fedpeft's own left out."""

import logging

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedpeft.flower.grid import InProcessGrid, server_context


def _app(train, query=None) -> ClientApp:
    app = ClientApp()
    app.train()(train)
    if query is not None:
        app.query("name")(query)
    return app


def _echo(message, context):
    return Message(message.content, reply_to=message)


def _content(**values) -> RecordDict:
    return RecordDict({"config": ConfigRecord(values)})


def _send(grid, *, content=None, message_type="train", ttl=60.0):
    return [Message(content or _content(), node, message_type, ttl=ttl) for node in grid.get_node_ids()]


def test_is_a_grid_with_every_method():
    assert issubclass(InProcessGrid, Grid)
    assert InProcessGrid.__abstractmethods__ == frozenset()


def test_nodes_have_partitions_and_none_is_the_superlink():
    seen = []

    def train(message, context):
        seen.append((context.node_id, dict(context.node_config), dict(context.run_config)))
        return _echo(message, context)

    grid = InProcessGrid(_app(train), 3, {"run": "/r.toml"})
    grid.send_and_receive(_send(grid))
    assert [config for _, config, _ in seen] == [{"partition-id": i, "num-partitions": 3} for i in range(3)]
    assert [node for node, _, _ in seen] == list(grid.get_node_ids())
    assert SUPERLINK_NODE_ID not in grid.get_node_ids()
    assert all(config == {"run": "/r.toml"} for _, _, config in seen)
    assert [node.node_id for node in grid.get_nodes()] == list(grid.get_node_ids())


def test_replies_come_in_push_order_and_name_their_message():
    grid = InProcessGrid(_app(_echo), 4)
    nodes = list(grid.get_node_ids())[::-1]
    ids = grid.push_messages([Message(_content(n=node), node, "train") for node in nodes])
    replies = []
    while len(replies) < 4:
        replies.extend(grid.pull_messages(ids))
    assert [reply.content["config"]["n"] for reply in replies] == nodes
    assert [reply.metadata.reply_to_message_id for reply in replies] == list(ids)
    assert [reply.metadata.src_node_id for reply in replies] == nodes


def test_a_client_runs_when_its_reply_is_pulled_and_only_then():
    ran = []

    def train(message, context):
        ran.append(context.node_config["partition-id"])
        return _echo(message, context)

    grid = InProcessGrid(_app(train), 3)
    ids = list(grid.push_messages(_send(grid)))
    assert ran == []
    assert len(grid.pull_messages(ids)) == 1
    assert ran == [0]
    grid.pull_messages(ids[2:])
    assert ran == [0, 2]


def test_a_reply_is_pulled_once():
    grid = InProcessGrid(_app(_echo), 1)
    ids = grid.push_messages(_send(grid))
    assert len(grid.pull_messages(ids)) == 1
    assert grid.pull_messages(ids) == []
    assert grid.pull_messages(["no such id"]) == []


def test_state_of_a_node_outlives_a_round_and_is_its_own():
    def train(message, context):
        rounds = context.state.get("rounds", ConfigRecord({"count": 0}))
        rounds["count"] += 1 + context.node_config["partition-id"]
        context.state["rounds"] = rounds
        return Message(_content(count=rounds["count"]), reply_to=message)

    grid = InProcessGrid(_app(train), 3)
    counts = [[r.content["config"]["count"] for r in grid.send_and_receive(_send(grid))] for _ in range(3)]
    assert counts == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]


def test_an_app_that_raises_becomes_an_error_and_the_others_go_on(caplog):
    def train(message, context):
        if context.node_config["partition-id"] == 1:
            raise ZeroDivisionError("the answer of patient 17 is empty")
        return _echo(message, context)

    grid = InProcessGrid(_app(train), 3)
    with caplog.at_level(logging.ERROR):
        replies = grid.send_and_receive(_send(grid))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    error = replies[1].error
    assert (error.code, error.reason) == (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "ZeroDivisionError")
    assert "patient 17" in caplog.text


@pytest.mark.parametrize("reply", [None, "text"])
def test_an_app_that_returns_no_message_is_an_error(reply):
    grid = InProcessGrid(_app(lambda message, context: reply), 1)
    (answer,) = grid.send_and_receive(_send(grid))
    assert answer.has_error()


def test_an_interrupt_is_nobodys_error():
    def train(message, context):
        raise KeyboardInterrupt

    grid = InProcessGrid(_app(train), 2)
    with pytest.raises(KeyboardInterrupt):
        grid.send_and_receive(_send(grid))


def test_a_straggler_is_an_error_and_each_client_is_timed_alone():
    now = [0.0]

    def train(message, context):
        now[0] += 100.0 if context.node_config["partition-id"] == 1 else 9.0
        return _echo(message, context)

    grid = InProcessGrid(_app(train), 4, clock=lambda: now[0])
    replies = grid.send_and_receive(_send(grid, ttl=10.0))
    assert [reply.has_error() for reply in replies] == [False, True, False, False]
    assert replies[1].error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE


def test_a_node_that_does_not_exist_is_an_error():
    grid = InProcessGrid(_app(_echo), 1)
    (reply,) = grid.send_and_receive([Message(_content(), 10**9, "train")])
    assert reply.error.code == ErrorCode.NODE_UNAVAILABLE


def test_query_reaches_its_own_handler_and_unknown_types_are_errors():
    def query(message, context):
        return Message(_content(name=f"node {context.node_config['partition-id']}"), reply_to=message)

    grid = InProcessGrid(_app(_echo, query), 2)
    replies = grid.send_and_receive(_send(grid, message_type="query.name"))
    assert [reply.content["config"]["name"] for reply in replies] == ["node 0", "node 1"]
    assert all(reply.has_error() for reply in grid.send_and_receive(_send(grid, message_type="query.other")))


def test_a_client_cannot_change_what_others_or_the_server_hold():
    def train(message, context):
        message.content["config"]["value"] += 1
        message.content["config"]["list"].append(1.0)
        message.content["more"] = MetricRecord({"a": 1})
        message.content["arrays"].clear()
        return Message(message.content, reply_to=message)

    shared = RecordDict(
        {
            "config": ConfigRecord({"value": 1, "list": [0.5]}),
            "arrays": ArrayRecord([np.ones(3, np.float32)]),
        }
    )
    grid = InProcessGrid(_app(train), 3)
    replies = grid.send_and_receive(_send(grid, content=shared))
    assert [reply.content["config"]["value"] for reply in replies] == [2, 2, 2]
    assert shared["config"] == {"value": 1, "list": [0.5]}
    assert set(shared) == {"config", "arrays"}
    assert len(shared["arrays"]) == 1


def test_a_client_that_keeps_its_reply_cannot_change_it_afterwards():
    kept = []

    def train(message, context):
        kept.append(_content(value=1))
        return Message(kept[-1], reply_to=message)

    grid = InProcessGrid(_app(train), 1)
    (reply,) = grid.send_and_receive(_send(grid))
    kept[0]["config"]["value"] = 99
    assert reply.content["config"]["value"] == 1


def test_the_bytes_of_an_array_are_shared_by_all_nodes():
    seen = []

    def train(message, context):
        seen.append(message.content["arrays"]["0"].data)
        return Message(RecordDict(), reply_to=message)

    content = RecordDict({"arrays": ArrayRecord([np.ones(3, np.float32)])})
    grid = InProcessGrid(_app(train), 50)
    grid.send_and_receive(_send(grid, content=content))
    assert len(seen) == 50
    assert all(data is content["arrays"]["0"].data for data in seen)


def test_mods_and_lifespan_of_the_app_are_used():
    order = []

    def mod(message, context, call_next):
        order.append("mod")
        return call_next(message, context)

    app = ClientApp(mods=[mod])
    app.train()(_echo)

    @app.lifespan()
    def lifespan(context):
        order.append("enter")
        yield
        order.append("leave")

    grid = InProcessGrid(app, 1)
    grid.send_and_receive(_send(grid))
    assert order == ["enter", "mod", "leave"]


def test_two_grids_have_two_runs():
    first, second = InProcessGrid(_app(_echo), 1), InProcessGrid(_app(_echo), 1)
    assert first.run.run_id != second.run.run_id
    assert server_context({"run": "x"}).run_id == second.run.run_id


def test_flowers_own_strategy_runs_on_it():
    """Another program than ours: the grid keeps the interface's promises, not just ours."""

    def train(message, context):
        arrays = ArrayRecord([a + 1 for a in message.content["arrays"].to_numpy_ndarrays()])
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    app = ServerApp()
    results = []

    def main(grid, context):
        strategy = FedAvg(fraction_evaluate=0.0)
        results.append(strategy.start(grid, ArrayRecord([np.zeros(3, np.float32)]), num_rounds=3))

    app.main()(main)
    grid = InProcessGrid(_app(train), 2)
    app(grid, server_context())
    np.testing.assert_array_equal(results[0].arrays.to_numpy_ndarrays()[0], np.full(3, 3.0))
