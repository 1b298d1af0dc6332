# SPDX-License-Identifier: Apache-2.0
"""The resident process: its socket, one daemon for a socket and a ledger, and an end that loses nothing."""

from __future__ import annotations

import os
import signal
import socket as sockets
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedpeft.errors import ConfigError, LedgerError, Refusal
from fedpeft.site.daemon import Daemon, alone, until_told
from fedpeft.site.remote import RemoteSite
from fedpeft.types import PrivateUpdate, TrainRequest

REQUEST = TrainRequest(
    "run", "run:here:1", 1, 1, 0.5, 1.1, 0.1, (1.0,), "flat", "d", np.ones(3, np.float32), ""
)


def daemon_of(site: Any, socket: Path, stop_s: float = 60.0) -> Daemon:
    return Daemon(site, site.layout, socket, queue_s=30.0, stop_s=stop_s)


def test_the_socket_is_for_its_user_and_group_while_the_site_serves(fake_site: Any, folder: Path) -> None:
    socket = folder / "site.sock"
    with daemon_of(fake_site(), socket):
        found = socket.stat()
        assert found.st_mode & 0o777 == 0o660
        assert found.st_gid == folder.stat().st_gid
        assert RemoteSite(socket).is_healthy()
        assert RemoteSite(socket).facts().name == "here"
    assert not socket.exists()


def test_a_socket_of_a_dead_process_is_replaced(fake_site: Any, folder: Path) -> None:
    socket = folder / "site.sock"
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(socket))
    with daemon_of(fake_site(), socket):
        assert RemoteSite(socket).is_healthy()


def test_a_socket_in_use_and_a_file_are_left_alone(fake_site: Any, folder: Path) -> None:
    socket = folder / "site.sock"
    with daemon_of(fake_site(), socket):
        with pytest.raises(ConfigError, match="somebody listens there already"):
            daemon_of(fake_site(), socket)
        assert RemoteSite(socket).is_healthy()
    socket.write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        daemon_of(fake_site(), socket)
    assert socket.read_text() == "mine"


def test_the_request_in_work_ends_before_the_site_does(fake_site: Any, folder: Path) -> None:
    site, socket = fake_site(), folder / "site.sock"
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(60)

    site.work = work
    answers: list[PrivateUpdate] = []
    asking = threading.Thread(target=lambda: answers.append(RemoteSite(socket).train(REQUEST)))
    daemon = daemon_of(site, socket)
    with daemon:
        asking.start()
        assert begun.wait(60)
        threading.Timer(0.2, may_end.set).start()
    asking.join(60)
    assert daemon.is_idle
    assert [answer.values.tolist() for answer in answers] == [[2.0, 2.0, 2.0]]


def test_a_request_that_does_not_end_is_cut_off(fake_site: Any, folder: Path) -> None:
    site, socket = fake_site(), folder / "site.sock"
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(60)

    site.work = work
    refusals: list[Refusal] = []

    def ask() -> None:
        try:
            RemoteSite(socket).train(REQUEST)
        except Refusal as refusal:
            refusals.append(refusal)

    asking = threading.Thread(target=ask)
    daemon = daemon_of(site, socket, stop_s=0.1)
    try:
        with daemon:
            asking.start()
            assert begun.wait(60)
        asking.join(60)
        assert len(refusals) == 1
        assert not daemon.is_idle
    finally:
        may_end.set()


def test_one_resident_site_for_a_ledger(tmp_path: Path) -> None:
    with alone(tmp_path, "here"):
        with alone(tmp_path, "there"):
            pass
        with pytest.raises(LedgerError, match="another resident site serves it"), alone(tmp_path, "here"):
            pass
    with alone(tmp_path, "here"):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_and_puts_handlers_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    until_told()
    assert signal.getsignal(number) is before
