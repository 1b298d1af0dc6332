# SPDX-License-Identifier: Apache-2.0
"""Certificates that TLS accepts for the names they were made for, from their own authority, in their time."""

from __future__ import annotations

import datetime
import email.utils
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedpeft.deployment.authority import Pair, make_authority, make_node_key, make_server
from fedpeft.deployment.coordinator import certificate_findings, clock_findings, superlink_findings

AUTHORITY = make_authority("clinics")
Serve = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.fixture
def serve(write: Callable[[str, bytes], Path]) -> Iterator[Serve]:
    """``serve(certificate)`` starts a server with it, or one without TLS; returns ``HOST:PORT``."""
    servers: list[http.server.HTTPServer] = []

    def start(pair: Pair | None, host: str = "127.0.0.1", date: str | None = None) -> str:
        class Quiet(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(404)
                self.end_headers()

            def date_time_string(self, timestamp: float | None = None) -> str:
                return date or super().date_time_string(timestamp)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        server.handle_error = lambda *_: None  # handshakes fail here on purpose
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(write("server.pem", pair.public), write("server.key", pair.key))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"{host}:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_under_the_authority_works_for_every_host_named(serve: Serve, write, host: str) -> None:
    address = serve(make_server(AUTHORITY, ["fl.example.org", "127.0.0.1", "localhost"]), host)
    root = write("ca.crt", AUTHORITY.public)
    findings = [*certificate_findings(root), *superlink_findings(address, root)]
    assert all(finding.is_good for finding in findings), findings
    assert len(findings) == 2


def _only(findings) -> str:
    (finding,) = findings
    assert not finding.is_good
    return finding.text


def test_another_authority_is_not_trusted(serve: Serve, write) -> None:
    address = serve(make_server(make_authority("others"), ["127.0.0.1"]))
    assert "not of this root" in _only(superlink_findings(address, write("ca.crt", AUTHORITY.public)))


def test_another_name_is_not_trusted(serve: Serve, write) -> None:
    address = serve(make_server(AUTHORITY, ["fl.example.org"]))
    assert "for other names" in _only(superlink_findings(address, write("ca.crt", AUTHORITY.public)))


def test_an_expired_certificate_is_not_trusted(serve: Serve, write) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400)
    address = serve(make_server(AUTHORITY, ["127.0.0.1"], long_ago))
    root = write("ca.crt", make_authority("clinics", long_ago - datetime.timedelta(days=4000)).public)
    assert "ask the coordinator for a new one" in _only(certificate_findings(root))
    root = write("ca.crt", AUTHORITY.public)
    text = _only(superlink_findings(address, root))
    assert "expired" in text or "not of this root" in text  # the authority is younger than the certificate


def test_no_tls_no_answer_and_no_certificate(serve: Serve, write, tmp_path: Path) -> None:
    root = write("ca.crt", AUTHORITY.public)
    assert "does not speak TLS" in _only(superlink_findings(serve(None), root))
    assert "does not answer" in _only(superlink_findings("127.0.0.1:1", root))
    assert "no PEM certificate" in _only(certificate_findings(write("bad.crt", b"none")))
    assert "ask the coordinator" in _only(certificate_findings(tmp_path / "absent.crt"))


def test_a_clock_that_is_off_is_told(serve: Serve, write) -> None:
    address = serve(make_server(AUTHORITY, ["127.0.0.1"]), date="Sun, 01 Nov 2020 10:00:00 GMT")
    findings = list(superlink_findings(address, write("ca.crt", AUTHORITY.public)))
    assert [finding.is_good for finding in findings] == [True, False]
    assert "set the clock" in findings[1].text


@pytest.mark.parametrize(("ahead_s", "is_good"), [(-400, False), (-60, True), (3, True), (60, False)])
def test_a_clock_may_be_slow_but_hardly_fast(ahead_s: float, is_good: bool) -> None:
    """A signature from the future is refused at once, an old one after minutes."""
    now = datetime.datetime.now(datetime.UTC)
    there = email.utils.format_datetime(now - datetime.timedelta(seconds=ahead_s), usegmt=True)
    found = list(clock_findings(there))
    assert found == [] if is_good else ("ahead of" if ahead_s > 0 else "behind") in found[0].text


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2020 10:00:00 GMT"])
def test_a_server_that_says_no_time_is_not_wrong(serve: Serve, write, date: str) -> None:
    address = serve(make_server(AUTHORITY, ["127.0.0.1"]), date=date or " ")
    (finding,) = superlink_findings(address, write("ca.crt", AUTHORITY.public))
    assert finding.is_good


def test_a_certificate_that_soon_ends_is_told(serve: Serve, write) -> None:
    almost = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=380)
    authority = make_authority("clinics", almost)
    root = write("ca.crt", authority.public)
    (finding,) = superlink_findings(serve(make_server(authority, ["127.0.0.1"], almost)), root)
    assert finding.is_good
    assert "only; the coordinator must renew it" in finding.text
    ends = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3630)
    (finding,) = certificate_findings(write("ca.crt", make_authority("clinics", ends).public))
    assert "in less than 30 days" in finding.text


def test_a_port_that_is_none_is_told(write) -> None:
    assert "does not answer" in _only(superlink_findings("127.0.0.1:99999", write("c", AUTHORITY.public)))


def test_a_nodes_key_is_one_that_ssh_reads() -> None:
    pair = make_node_key("st-mary")
    private = load_ssh_private_key(pair.key, None)
    public = load_ssh_public_key(pair.public)
    assert private.public_key().public_numbers() == public.public_numbers()
    assert pair.public.endswith(b" st-mary\n")
    assert make_node_key("st-mary").key != pair.key


def test_a_server_without_a_name_has_no_certificate() -> None:
    with pytest.raises(ValueError, match="at least one host"):
        make_server(AUTHORITY, [])
