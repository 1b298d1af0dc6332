# SPDX-License-Identifier: Apache-2.0
"""The ``fedpeft`` command on a machine whose clock is ten minutes slow."""

from __future__ import annotations

import datetime
import sys

from fedpeft.cli import main
from fedpeft.deployment import coordinator
from fedpeft.flower import joining
from simulations.faults.sick_node import OFF


class _Slow(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _Slow:
        return super().now(tz) - OFF


class _Clock:
    datetime, timedelta, UTC = _Slow, datetime.timedelta, datetime.UTC


if __name__ == "__main__":
    coordinator.datetime = joining.datetime = _Clock  # type: ignore[assignment]
    sys.exit(main())
