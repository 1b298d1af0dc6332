# SPDX-License-Identifier: Apache-2.0
"""A resident site of real backbone, policy and ledger, asked over its socket; and its courier's process."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedpeft.deployment.resident import guard_problems, serve
from fedpeft.deployment.site_file import load_site_file
from fedpeft.errors import ConfigError, LedgerError, Refusal
from fedpeft.privacy.ledger import verify
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.site.remote import RemoteSite
from fedpeft.site.service import Service
from fedpeft.types import RefusalCode


def test_a_run_over_the_socket_and_again_after_a_restart(resident: Any) -> None:
    request, answers = resident.request(), []

    def ask(remote: RemoteSite) -> None:
        facts = remote.facts()
        assert (facts.name, facts.declared_units, facts.unit) == ("site0", 40, "record")
        remote.commit(resident.schedule)
        answers.append(remote.train(request))

    resident.serve(ask)
    after = resident.rows()
    resident.serve(lambda remote: answers.append(remote.train(request)))
    first, again = answers
    assert first.values.tobytes() == again.values.tobytes()
    assert np.abs(first.values).max() > 0
    assert first.event.noise_multiplier == resident.schedule.parts[0][0]
    assert resident.rows() == after  # asked twice, paid once
    report = verify(resident.file.ledger, resident.file.policy)
    assert report.ok
    assert (report.num_events, report.num_releases) == (1, 1)


def test_a_private_evaluation_over_the_socket(resident: Any, make_site: Callable[..., Path]) -> None:
    """Paid for in the run's commitment; refused where the policy does not list the stage."""
    schedule = dataclasses.replace(resident.schedule, votes=(("evaluation", 5.0, 1),))
    train = resident.request()
    request = EvaluateRequest(
        "run", "run:site0:evaluation after", 5.0, train.layout_digest, train.adapter, ""
    )
    answers: list[PrivateMetric] = []

    def ask(remote: RemoteSite) -> None:
        remote.commit(schedule)
        answers.extend([remote.evaluate(request), remote.evaluate(request)])

    def is_refused(remote: RemoteSite) -> None:
        for refused in (lambda: remote.commit(schedule), lambda: remote.evaluate(request)):
            with pytest.raises(Refusal) as caught:
                refused()
            assert caught.value.code is RefusalCode.POLICY

    resident.serve(is_refused)
    resident.file.ledger.unlink()
    changes = {"policy": {"epsilon": 50.0, "stages": ["training", "evaluation"]}}
    path = make_site(**changes, evaluation={"private": True, "labels": ["red", "small"]})
    dataclasses.replace(resident, file=load_site_file(path)).serve(ask)
    first, again = answers
    assert first == again
    assert first.declared == 4.0  # 40 units, of which a tenth is held out
    assert (first.event.kind, first.event.noise_multiplier, first.event.steps) == ("gaussian", 5.0, 1)


_COURIER = """
import json, sys
opened = []
sys.addaudithook(
    lambda event, given: opened.append(str(given[0])) if event in ("open", "sqlite3.connect") else None
)
socket, control = sys.argv[1:]
from client.app import app
from flwr.app import Message
from fedpeft.errors import Refusal
from fedpeft.flower import messages
from fedpeft.flower.grid import InProcessGrid
from fedpeft.types import Schedule
grid = InProcessGrid(app, 1)
for context in grid._contexts.values():
    context.node_config = {"site-socket": socket}
(node,) = grid.get_node_ids()
def ask(kind, content):
    (reply,) = grid.send_and_receive([Message(content, node, kind)])
    return reply.content
facts = messages.decode_facts(ask("query.describe", messages.encode_describe()))
schedule = Schedule.constant("run", 1.5, 0.5, 4, "record")
messages.decode_consent(ask("query.commit", messages.encode_schedule(schedule)))
if control:
    open(control).close()
print(json.dumps({"name": facts.name, "opened": opened, "modules": sorted(sys.modules)}))
"""


@pytest.mark.parametrize("is_control", [False, True])
def test_the_couriers_process_never_opens_what_is_private(resident: Any, is_control: bool) -> None:
    """The real ClientApp in a process of its own; the control opens the data and is seen to."""
    root = Path(__file__).parents[2]
    data = str(resident.file.config.sites[0].files[0])
    seen: dict = {}

    def ask(remote: RemoteSite) -> None:
        command = [sys.executable, "-c", _COURIER, str(resident.file.keys.socket), data if is_control else ""]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300)
        assert done.returncode == 0, done.stderr
        seen.update(json.loads(done.stdout.splitlines()[-1]))

    resident.serve(ask)
    assert seen["name"] == "site0"
    opened = {str(Path(path).resolve()) for path in seen["opened"]}
    private = {str(path.resolve()) for path in resident.file.private_paths()}
    assert (data in opened) == is_control
    assert not opened & (private - {data})
    assert not {"torch", "transformers", "peft"} & set(seen["modules"])
    assert len(resident.rows()) == 2  # the commitment and the head: the courier did reach the site


def test_two_resident_sites_do_not_share_a_ledger(resident: Any, tmp_path: Path) -> None:
    other = dataclasses.replace(
        resident.file,
        keys=resident.file.keys.model_copy(
            update={"socket": resident.file.keys.socket.with_name("other.sock")}
        ),
    )

    def ask(remote: RemoteSite) -> None:
        with pytest.raises(LedgerError, match="another resident site"):
            serve(other, one_user_trial=True, wait=lambda: pytest.fail("served"))
        assert remote.is_healthy()

    resident.serve(ask)


def test_a_site_that_its_courier_could_read_does_not_start(resident: Any) -> None:
    """The test's user is its courier here."""
    same = dataclasses.replace(
        resident.file, keys=resident.file.keys.model_copy(update={"courier": str(os.geteuid())})
    )
    with pytest.raises(ConfigError, match="own user"):
        serve(same, wait=lambda: pytest.fail("served"))
    assert not same.ledger.exists()
    assert guard_problems(same, one_user_trial=True) == []


def test_queue_and_slot_are_the_files(resident: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = Service.__init__

    def init(self: Service, site: Any, queue_s: float, slot_s: float) -> None:
        seen.append((queue_s, slot_s))
        real(self, site, queue_s, slot_s)

    monkeypatch.setattr(Service, "__init__", init)
    keys = resident.file.keys.model_copy(update={"queue_s": 12.5, "slot_s": 7.0})
    other = dataclasses.replace(resident, file=dataclasses.replace(resident.file, keys=keys))
    other.serve(lambda remote: None)
    assert seen == [(12.5, 7.0)]
