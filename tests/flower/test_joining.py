# SPDX-License-Identifier: Apache-2.0
"""A request to join that Flower's own check of signatures accepts, and its handler refuses in known ways."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import FlowerError
from flwr.supercore.error.catalog import API_ERROR_MAP
from flwr.superlink.routers.fleet import node_auth
from flwr.superlink.servicer.fleet.fleet_handlers import activate_node

from fedpeft.deployment.authority import make_node_key
from fedpeft.flower import joining
from fedpeft.flower.joining import JoinRequest, Standing, join_request, standing


class _Links:
    """A SuperLink's state that knows one key, or none; being activated is a mistake."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def get_node_id_by_public_key(self, key: bytes) -> int | None:
        return 7 if key == self._key else None

    def activate_node(self, *_: object) -> bool:
        pytest.fail("asking made the node join")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    path.write_bytes(make_node_key("st-mary").key)
    return path


def _answered(request: JoinRequest, known: bytes | None) -> Standing:
    """As Flower's own middleware and handler would have it."""
    message = ActivateNodeRequest.FromString(request.body)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        node_auth.authenticate_node(
            SimpleNamespace(headers=headers, state=SimpleNamespace(protobuf_request=message))
        )
        activate_node(message, _Links(known))
    except HTTPException as error:
        return standing(error.status_code, json.dumps({"detail": error.detail}).encode())
    except FlowerError as error:
        said = API_ERROR_MAP[error.code]
        body = {"code": int(error.code), "detail": said.public_message}
        return standing(said.http_status_code, json.dumps(body).encode())
    pytest.fail("it was granted")


def test_a_known_key_an_unknown_one_and_a_wrong_clock_are_told_apart(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = join_request(key)
    own = ActivateNodeRequest.FromString(request.body).public_key
    assert _answered(request, own) is Standing.KNOWN
    assert _answered(request, None) is Standing.UNKNOWN

    class _Slow(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime.now(tz) - datetime.timedelta(minutes=10)

    monkeypatch.setattr(joining, "datetime", SimpleNamespace(datetime=_Slow, UTC=datetime.UTC))
    assert _answered(join_request(key), own) is Standing.UNSIGNED


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"code": "x"}', b'{"code": 1, "detail": "?"}'])
def test_other_answers_are_strange(body: bytes) -> None:
    assert standing(200, body) is Standing.STRANGE
