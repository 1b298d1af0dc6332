# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of a resident site: nothing released goes uncounted, and at most one charge is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedpeft.errors import Refusal
from fedpeft.privacy.ledger import verify
from fedpeft.site.remote import RemoteSite
from fedpeft.types import PrivateUpdate, RefusalCode

_SITE = """
import importlib, os, signal, sys
from fedpeft.deployment.resident import serve
from fedpeft.deployment.site_file import load_site_file
path, module, name = sys.argv[1:]
importlib.import_module(module)
setattr(sys.modules[module], name, lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL))
serve(load_site_file(path), one_user_trial=True)
"""

POINTS = {
    "before the charge": ("fedpeft.site.site", "check_request", 0, 0),
    "in training": ("fedpeft.site.site", "local_update", 1, 0),
    "before the release is kept": ("fedpeft.site.site", "to_bytes", 1, 0),
    "before the reply": ("fedpeft.site.wire", "encode_update", 1, 1),
}
"""Where the site dies: the function that kills it; how many charges and releases its ledger holds."""


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_site_has_counted_everything(resident: Any, point: str) -> None:
    module, name, charges, releases = POINTS[point]
    request, remote = resident.request(), RemoteSite(resident.file.keys.socket, train_s=120)
    command = [sys.executable, "-c", _SITE, str(resident.file.path), module, name]
    site = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 240
        while not remote.is_healthy():
            assert site.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        remote.commit(resident.schedule)
        with pytest.raises(Refusal) as caught:
            remote.train(request)
        assert caught.value.code is RefusalCode.UNAVAILABLE
        assert site.wait(60) == -signal.SIGKILL
    finally:
        site.kill()
        site.wait()

    answers: list[PrivateUpdate] = []

    def ask(again: RemoteSite) -> None:
        report = verify(resident.file.ledger, resident.file.policy)
        assert report.ok
        assert (report.num_events, report.num_releases) == (charges, releases)
        again.commit(resident.schedule)
        answers.append(again.train(request))
        answers.append(again.train(request))

    resident.serve(ask)
    first, second = answers
    assert first.values.tobytes() == second.values.tobytes()
    report = verify(resident.file.ledger, resident.file.policy)
    assert report.ok
    assert report.num_releases == 1
    assert report.num_events == 1 + charges - releases
