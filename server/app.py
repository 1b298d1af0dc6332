# SPDX-License-Identifier: Apache-2.0
"""What the coordinator's SuperLink runs: the round loop."""

from fedpeft.flower.apps import server_app as app

__all__ = ["app"]
