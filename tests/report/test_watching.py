# SPDX-License-Identifier: Apache-2.0
"""``fedpeft watch``: on this machine only, read-only, and up to date."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpeft.errors import ConfigError
from fedpeft.report import watching
from fedpeft.report.watching import Watched, make_server
from simulations.benchmarks.shared.run_folder import write_run


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, int, str]]:
    monkeypatch.setattr(watching, "_LEAST_S", 0.0)
    write_run(tmp_path, rounds=4, finished=False)
    watched = Watched(tmp_path)
    with make_server(watched, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield tmp_path, server.server_port, watched.place
        server.shutdown()
        thread.join()


def ask(
    port: int, path: str, method: str = "GET", host: str = ""
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text, reply.headers


def test_the_page_follows_the_run(served: tuple[Path, int, str]) -> None:
    folder, port, place = served
    before = json.loads(ask(port, f"{place}state")[1])
    assert (before["text"], before["finished"]) == ("4 of 4 rounds done", False)
    status, page, headers = ask(port, place)
    assert status == 200
    assert "is not over" in page
    assert "script-src 'nonce-" in page
    assert headers["Cache-Control"] == "no-store"
    write_run(folder, rounds=4)
    after = json.loads(ask(port, f"{place}state")[1])
    assert after["finished"]
    assert after["version"] != before["version"]
    assert "<blockquote>" in ask(port, place)[1]


def test_a_file_that_cannot_be_read_leaves_the_page_as_it_was(served: tuple[Path, int, str]) -> None:
    folder, port, place = served
    (folder / "result.json").write_text("{")
    state = json.loads(ask(port, f"{place}state")[1])
    assert "cannot be read just now" in state["problem"]
    assert ask(port, place)[0] == 200


def test_nobody_else_is_answered_and_nothing_can_be_changed(served: tuple[Path, int, str]) -> None:
    folder, port, place = served
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert ask(port, place, host="evil.example:80")[0] == 403
    assert ask(port, place, host=f"localhost:{port}")[0] == 200
    for path in ("/", "/state", "/guessed/", f"{place}../config.toml", f"{place}config.toml"):
        assert ask(port, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE"):
        assert ask(port, place, method)[0] == 501
    assert ask(port, place, "HEAD")[1] == ""
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_server_listens_on_the_loopback_interface(tmp_path: Path) -> None:
    write_run(tmp_path, rounds=1)
    with make_server(Watched(tmp_path), 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match=f"--port {server.server_port}"):
            make_server(Watched(tmp_path), server.server_port)
    with pytest.raises(ConfigError, match="--port 70000"):
        make_server(Watched(tmp_path), 70000)
