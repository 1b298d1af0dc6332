# SPDX-License-Identifier: Apache-2.0
"""What an organization's SuperNode runs: the courier between the coordinator and its site."""

from fedpeft.flower.apps import client_app as app

__all__ = ["app"]
