# SPDX-License-Identifier: Apache-2.0
"""How long the stages of a run took."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic


@dataclass(slots=True)
class Stopwatch:
    """Seconds by stage; ``total`` runs from the beginning."""

    started: float = field(default_factory=monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def lap(self, stage: str, since: float) -> float:
        """Add the time since ``since`` to ``stage``; returns now."""
        now = monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now

    def to_json(self) -> dict[str, float]:
        """All stages and the total."""
        return {"total": monotonic() - self.started, **self.seconds}
