# SPDX-License-Identifier: Apache-2.0
"""What a program calls; each of these is a name of ``fedpeft`` itself."""

from fedpeft.api.calls import make_plan, open_run, resume, simulate
from fedpeft.api.run import Run

__all__ = ["Run", "make_plan", "open_run", "resume", "simulate"]
