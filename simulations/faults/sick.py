# SPDX-License-Identifier: Apache-2.0
"""A resident site with one fault: it dies at a chosen point, or answers what no honest site would.

    python -m simulations.faults.sick SITE.toml FAULT ROUND MARKER

The fault comes in one round (0: the vote, -1: the count); a death and a late answer come once, which the file
MARKER remembers. The faults replace single functions of the package in this process only.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedpeft.deployment.resident import serve
from fedpeft.deployment.site_file import load_site_file
from fedpeft.privacy.ledger import Ledger
from fedpeft.site import service, site, wire
from fedpeft.training.local import StepProgress
from fedpeft.types import PrivateUpdate

Step = Callable[..., Any]
LATE_S = float(os.environ.get("FEDPEFT_TRIAL_LATE_S", "45"))


OTHERS = {"synthesis": 0, "evaluation": -1}
"""What stands for the round of a request that has none."""


class Fault:
    """When the fault comes."""

    def __init__(self, round_number: int, marker: Path) -> None:
        """Come in the given round."""
        self._round = round_number
        self._marker = marker
        self._later: list[Fault] = []
        self._now = 0

    @property
    def now(self) -> int:
        """The round of the request in work."""
        return self._now

    @now.setter
    def now(self, number: int) -> None:
        for one in (self, *self._later):
            one._now = number

    def later(self, rounds: int) -> Fault:
        """The same so many rounds later, once more."""
        one = Fault(self._round + rounds, self._marker.with_suffix(f".{rounds}"))
        self._later.append(one)
        return one

    @property
    def is_due(self) -> bool:
        """Whether this is the round."""
        return self.now == self._round

    def once(self) -> bool:
        """Whether this is the round and the first time."""
        if not self.is_due or self._marker.exists():
            return False
        self._marker.touch()
        return True

    def die(self, *_given: object, **_more: object) -> None:
        """End this process as ``kill -9`` does, once."""
        if self.once():
            os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str, act: Step) -> None:
    """Act before a function of the package does its work."""
    real = getattr(owner, name)

    def both(*given: Any, **more: Any) -> Any:
        act(*given, **more)
        return real(*given, **more)

    setattr(owner, name, both)


def _after(owner: Any, name: str, act: Step) -> None:
    """Act on what a function of the package returned."""
    real = getattr(owner, name)
    setattr(owner, name, lambda *given, **more: act(real(*given, **more)))


def _in_training(fault: Fault) -> None:
    real = site.local_update

    def update(*given: Any) -> Any:
        def dying(_progress: StepProgress) -> None:
            fault.die()

        return real(*given[:6], dying, *given[7:])

    site.local_update = update


def _wait(seconds: float, fault: Fault) -> None:
    if fault.once():
        time.sleep(seconds)


def _changed(fault: Fault, change: Callable[[PrivateUpdate], PrivateUpdate]) -> None:
    real = wire.encode_update
    wire.encode_update = lambda update: real(change(update) if fault.is_due else update)


def _values(change: Callable[[Any], Any]) -> Callable[[PrivateUpdate], PrivateUpdate]:
    return lambda update: dataclasses.replace(update, values=change(update.values).astype(np.float32))


def _garbage(fault: Fault) -> None:
    real = service._serialize
    service._serialize = lambda reply: (
        os.urandom(1000) if fault.is_due and reply.HasField("update") else real(reply)
    )


DEATHS: dict[str, Callable[[Fault], None]] = {
    "dies before the charge": lambda fault: _before(site, "check_request", fault.die),
    "dies before the charge is written": lambda fault: _after(Ledger, "_append_event", fault.die),
    "dies after the charge": lambda fault: _before(site, "local_update", fault.die),
    "dies in training": _in_training,
    "dies before the release is kept": lambda fault: _before(site, "to_bytes", fault.die),
    "dies before the reply": lambda fault: _before(wire, "encode_update", fault.die),
}
"""Of a round, in the order in which they come."""


def _at_each_point(fault: Fault) -> None:
    for rounds, dies in enumerate(DEATHS.values()):
        dies(fault.later(rounds))


FAULTS: dict[str, Callable[[Fault], None]] = {
    **DEATHS,
    "dies at each point in turn": _at_each_point,
    "dies in the vote": lambda fault: _before(site, "release_vote", fault.die),
    "dies in the count": lambda fault: _before(site, "release_metric", fault.die),
    "hangs": lambda fault: _before(site, "local_update", lambda *_: _wait(36_000, fault)),
    "answers late": lambda fault: _before(wire, "encode_update", lambda *_: _wait(LATE_S, fault)),
    "answers garbage": _garbage,
    "answers another shape": lambda fault: _changed(fault, _values(lambda values: values[:-3])),
    "answers NaN": lambda fault: _changed(fault, _values(lambda values: values * np.nan)),
    "answers 100 times too much": lambda fault: _changed(fault, _values(lambda values: values * 100)),
}


def _note(fault: Fault, request: Any) -> Any:
    fault.now = getattr(request, "round_number", OTHERS.get(request.stage))
    return request


def main() -> None:
    """Serve with the fault."""
    path, name, number, marker = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    fault = Fault(int(number), Path(marker))
    _after(wire, "decode_train", partial(_note, fault))
    _after(wire, "decode_vote", partial(_note, fault))
    _after(wire, "decode_evaluate", partial(_note, fault))
    FAULTS[name](fault)
    serve(load_site_file(path), one_user_trial=True)


if __name__ == "__main__":
    main()
