# SPDX-License-Identifier: Apache-2.0
"""The ClientApp: what it asks of a site, and that nothing but codes leaves when something goes wrong."""

import io
import logging
import pickle

import pytest
from flwr.app import Message, RecordDict
from flwr.common.serde import recorddict_to_proto

from fedpeft.errors import LedgerError, MechanismError, Refusal
from fedpeft.flower import delivering, messages
from fedpeft.flower.apps import find_site
from fedpeft.flower.client import build_client_app
from fedpeft.flower.grid import InProcessGrid
from fedpeft.types import RefusalCode, Schedule
from fedpeft.wire_types import narrow, widen

SCHEDULE = Schedule.constant("run", 1.1, 0.1, 6, "record")


def _ask(grid, message_type, content):
    (node,) = grid.get_node_ids()
    (reply,) = grid.send_and_receive([Message(content, node, message_type)])
    return reply.content


@pytest.fixture
def contents(request_for, vote_for, evaluation_for, delivery):
    request, vote, evaluation = request_for("site-00"), vote_for("site-00"), evaluation_for("site-00")
    return {
        "facts": ("query.describe", messages.encode_describe(), messages.decode_facts),
        "commit": ("query.commit", messages.encode_schedule(SCHEDULE), messages.decode_consent),
        "train": (
            "train",
            messages.encode_request(request, messages.encode_vector(request.adapter)),
            messages.decode_update,
        ),
        "vote": (
            "query.vote",
            messages.encode_vote(vote, messages.encode_vector(vote.bins.ravel())),
            messages.decode_histogram,
        ),
        "evaluate": (
            "query.evaluate",
            messages.encode_evaluate(evaluation, messages.encode_vector(evaluation.adapter)),
            messages.decode_metric,
        ),
        "deliver": ("query.deliver", delivering.encode_delivery(delivery), messages.decode_consent),
    }


METHODS = ["facts", "commit", "train", "vote", "evaluate", "deliver"]


def test_every_message_reaches_the_site(
    make_sites, contents, request_for, vote_for, evaluation_for, delivery
):
    (site,), find = make_sites(1)
    grid = InProcessGrid(build_client_app(find), 1)
    answers = {name: decode(_ask(grid, kind, content)) for name, (kind, content, decode) in contents.items()}
    assert [name for name, _ in site.calls] == METHODS
    assert answers["facts"].name == "site-00"
    assert site.calls[1][1] == SCHEDULE
    assert site.calls[2][1].digest() == request_for("site-00").digest()
    assert site.calls[3][1].digest() == vote_for("site-00").digest()
    assert site.calls[4][1].digest() == evaluation_for("site-00").digest()
    assert site.calls[5][1].content_digest() == delivery.digest
    assert answers["evaluate"] == site.evaluate(evaluation_for("site-00"))
    assert answers["vote"].values.tolist() == site.vote(vote_for("site-00")).values.tolist()
    assert answers["train"].values.tobytes() == site.train(request_for("site-00")).values.tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("code", RefusalCode)
def test_a_refusal_leaves_as_its_code(make_sites, contents, method, code):
    _, find = make_sites(1, **{method: Refusal(code, "the reason stays here")})
    kind, content, decode = contents[method]
    with pytest.raises(Refusal) as caught:
        decode(_ask(InProcessGrid(build_client_app(find), 1), kind, content))
    assert caught.value.code is code


@pytest.mark.parametrize("wire_type", ["float16", "bfloat16"])
def test_an_update_travels_as_its_request_did(make_sites, request_for, wire_type):
    (site,), find = make_sites(1)
    request = request_for("site-00")
    content = messages.encode_request(request, messages.encode_vector(request.adapter, wire_type))
    reply = _ask(InProcessGrid(build_client_app(find), 1), "train", content)
    assert reply["vector"]["vector"].dtype == wire_type
    sent = site.train(request).values  # the site itself knows nothing of it
    assert messages.decode_update(reply).values.tolist() == widen(narrow(sent, wire_type), wire_type).tolist()


SECRET = "patient Ada Lovelace, 36, shortness of breath"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET), LedgerError(SECRET), MechanismError(SECRET), MemoryError(SECRET),
        KeyError(SECRET), Refusal(RefusalCode.BUDGET, SECRET),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_no_text_of_an_exception_leaves(make_sites, contents, method, error, caplog):
    _, find = make_sites(1, **{method: error})
    kind, content, _ = contents[method]
    with caplog.at_level(logging.WARNING):
        reply = _ask(InProcessGrid(build_client_app(find), 1), kind, content)
    sent = recorddict_to_proto(reply).SerializeToString()
    assert b"Ada" not in sent
    assert b"Lovelace" not in sent
    assert type(error).__name__.encode() not in sent
    assert SECRET in caplog.text  # the site's own log has it
    expected = error.code if isinstance(error, Refusal) else RefusalCode.UNAVAILABLE
    assert reply == messages.encode_refusal(expected)


def test_a_site_that_cannot_be_found_is_unavailable(contents):
    def find(context):
        raise FileNotFoundError("/srv/hospital/notes.jsonl")

    grid = InProcessGrid(build_client_app(find), 1)
    for kind, content, _ in contents.values():
        assert _ask(grid, kind, content) == messages.encode_refusal(RefusalCode.UNAVAILABLE)


@pytest.mark.parametrize("method", METHODS)
def test_garbage_is_refused_before_the_site_is_looked_for(method, contents):
    def find(context):
        raise AssertionError("the site was looked for")

    kind, content, _ = contents[method]
    grid = InProcessGrid(build_client_app(find), 1)
    content["fedpeft"]["more"] = 1
    assert _ask(grid, kind, content) == messages.encode_refusal(RefusalCode.MALFORMED)
    content["fedpeft"]["protocol"] = 2
    assert _ask(grid, kind, content) == messages.encode_refusal(RefusalCode.PROTOCOL)
    assert _ask(grid, kind, RecordDict()) == messages.encode_refusal(RefusalCode.PROTOCOL)


def test_the_app_is_sent_to_workers_by_reference():
    """Flower's simulation pickles the app for every message: a cache that travelled along would be a copy."""
    app = build_client_app(find_site)
    buffer = io.BytesIO()
    pickle.Pickler(buffer).dump(app)
    copy = pickle.loads(buffer.getvalue())
    (handler,) = {f.__self__ for f in copy._registered_funcs.values()}
    assert handler.find_site is find_site
    assert len(buffer.getvalue()) < 2000
