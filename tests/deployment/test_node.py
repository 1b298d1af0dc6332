# SPDX-License-Identifier: Apache-2.0
"""What keeps a node out is told in one line; the SuperLink that answers is one of this file.

The same against Flower's own SuperLink is in ``tests/e2e`` and in the fault matrix.
"""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import ApiErrorCode
from flwr.superlink.servicer.fleet.fleet_handlers import (
    InvalidHeartbeatIntervalError,
    _validate_heartbeat_interval,
)

from fedpeft.cli.node import command
from fedpeft.deployment import coordinator
from fedpeft.deployment.authority import make_authority, make_node_key, make_server
from fedpeft.deployment.coordinator import Where
from fedpeft.deployment.node import node_findings, wait_until_it_answers
from fedpeft.errors import UserError

AUTHORITY = make_authority("clinics")
KNOWN = (400, {"code": int(ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL), "detail": "interval"})
UNKNOWN = (412, {"code": int(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED), "detail": "failed"})
UNSIGNED = (401, {"detail": "Invalid SuperNode authentication"})
LONG_AGO = "Sun, 01 Nov 2020 10:00:00 GMT"
Serve = Callable[..., Where]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """``serve(answer)`` starts a SuperLink that answers so; what it was asked is in ``serve.asked``."""
    servers: list[http.server.HTTPServer] = []
    root = tmp_path / "ca.crt"
    root.write_bytes(AUTHORITY.public)
    pair = make_server(AUTHORITY, ["127.0.0.1"])
    (tmp_path / "server.pem").write_bytes(pair.public)
    (tmp_path / "server.key").write_bytes(pair.key)

    def start(answer: tuple[int, object], date: str | None = None) -> Where:
        class Link(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                start.asked.append((self.path, dict(self.headers), body))
                self.send_response(answer[0])
                self.end_headers()
                self.wfile.write(json.dumps(answer[1]).encode())

            def date_time_string(self, timestamp: float | None = None) -> str:
                return date or super().date_time_string(timestamp)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Link)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Where(f"127.0.0.1:{server.server_port}", root, "--superlink", "--certificate")

    start.asked = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    path.write_bytes(make_node_key("st-mary").key)
    return path


def test_a_registered_key_is_good_and_its_request_is_one_that_no_superlink_grants(serve, key) -> None:
    (finding,) = node_findings(serve(KNOWN), key)
    assert finding.is_good
    ((path, headers, body),) = serve.asked
    assert path == "/v1/fleet/activate-node"
    assert headers["Content-Type"] == "application/protobuf"
    with pytest.raises(InvalidHeartbeatIntervalError):
        _validate_heartbeat_interval(ActivateNodeRequest.FromString(body).heartbeat_interval)


@pytest.mark.parametrize(
    ("answer", "date", "words"),
    [
        (UNKNOWN, None, "is not registered with the coordinator; send it"),
        (UNSIGNED, LONG_AGO, "set the clock"),
        (UNSIGNED, None, "its signature is refused"),
        ((404, {"detail": "Not Found"}), None, "is no SuperLink that is known here (HTTP 404)"),
        ((200, []), None, "is no SuperLink that is known here (HTTP 200)"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_mend(serve, key, answer, date, words: str) -> None:
    (finding,) = node_findings(serve(answer, date), key)
    assert not finding.is_good
    assert words in finding.text
    assert "\n" not in finding.text


def test_a_root_or_a_key_that_cannot_be_read_is_told_before_anybody_is_asked(serve, key, tmp_path) -> None:
    where = serve(KNOWN)
    (finding,) = node_findings(Where(where.address, tmp_path / "absent.crt", "a", "--certificate"), key)
    assert "--certificate" in finding.text
    assert not finding.is_good
    key.write_text("nonsense")
    for wrong, words in ((key, "OpenSSH"), (tmp_path / "none", "name the node's private key")):
        with pytest.raises(UserError, match=words):
            list(node_findings(where, wrong))
    assert serve.asked == []


def test_the_command_says_it_and_ends_with_1(serve, key) -> None:
    for answer, code in ((KNOWN, 0), (UNKNOWN, 1)):
        where = serve(answer)
        options = ["--superlink", where.address, "--certificate", str(where.certificate), "--key", str(key)]
        done = CliRunner().invoke(command, ["check", *options, "--wait"], standalone_mode=False)
        assert done.return_value == code
        assert done.output.startswith("MEND  " if code else "good  ")


def test_it_waits_for_a_coordinator_that_is_not_there_yet(serve) -> None:
    absent = Where("127.0.0.1:1", None, "--superlink", "")
    said: list[str] = []

    class _Enough(Exception):  # noqa: N818
        pass

    tries = iter([None, None])

    def sleep(_seconds: float) -> None:
        if next(tries, "over") == "over":
            raise _Enough

    with pytest.raises(_Enough):
        wait_until_it_answers(absent, said.append, sleep=sleep)
    assert len(said) == 1
    assert "does not answer yet" in said[0]
    wait_until_it_answers(serve(KNOWN), said.append, sleep=sleep)
    assert len(said) == 1


def test_the_clock_may_be_off_as_much_as_flower_allows() -> None:
    assert coordinator.SLOW_S == TIMESTAMP_TOLERANCE
    assert coordinator.FAST_S == SYSTEM_TIME_TOLERANCE
