# SPDX-License-Identifier: Apache-2.0
"""Reference: each site trains by itself, with its own noise and epsilon. What federation gains."""

from __future__ import annotations

from typing import final

from fedpeft.methods.base import Method


@final
class Preset(Method):
    """As many private runs as there are sites."""

    source = "fedpeft"
    how = "each-alone"
    no_guarantee = "nothing is federated; each site keeps its epsilon for an adapter of its own"
