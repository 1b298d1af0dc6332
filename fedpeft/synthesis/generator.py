# SPDX-License-Identifier: Apache-2.0
"""Pairs that the backbone writes, after the federation taught it to under differential privacy.

Yue et al. (2022), "Synthetic Text Generation with Differential Privacy", https://arxiv.org/abs/2210.14348: a
language model is trained with DP on records behind a control text and then sampled. Here the run's own rounds
train the run's own adapter, before the rounds of the task; instruction and response are both written by the
model, so that no response is a private one. Controls name public tasks, in equal parts.
"""

from __future__ import annotations

import logging
from typing import ClassVar, Final, final

from fedpeft.data.likeness import plain
from fedpeft.errors import BackboneError, ConfigError
from fedpeft.synthesis.base import Generated, Generator, Tools
from fedpeft.synthesis.candidates import read_candidates
from fedpeft.synthesis.dataset import SyntheticRow
from fedpeft.synthesis.resampling import sample

_log = logging.getLogger(__name__)

FEWEST: Final = 8
"""Rows, of at least two different questions, without which nothing can be trained on some and scored on
others; fewer only where fewer are wanted."""

UNTRAINED: Final = "no round of the generator's training was completed"
SILENT: Final = "the generator wrote hardly a pair"
INSTEAD: Final = "; the pool was sampled uniformly, as `public` does"


@final
class Kind(Generator):
    """Train, sample, filter, keep what differs."""

    asks_sites: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def generate(self, tools: Tools) -> Generated:
        """At most ``synthesis.size`` rows; what can be wrong is told before any site is asked."""
        settings = self.settings
        if tools.writer is None or tools.train is None:
            raise ConfigError('synthesis.generator = "generator": needs the backbone, which is not here')
        tools.writer.check()
        pool = sample(read_candidates(settings, self.data), settings.size, settings.seed)
        vector = tools.train()
        if vector is None:
            return _instead(pool, UNTRAINED)
        try:
            rows = tools.writer.rows(vector, settings.tasks, settings.size, settings.seed, "generator")
        except BackboneError:  # it could before noise moved it; what was paid for must not be lost
            return _instead(pool, SILENT)
        kinds = {plain(row.instruction) for row in rows}
        if len(rows) < min(FEWEST, settings.size) or len(kinds) < 2:
            return _instead(pool, SILENT)
        short = f"{len(rows)} of {settings.size} rows: other texts were no pairs, or there already"
        return Generated(rows, "" if len(rows) == settings.size else short)


def _instead(pool: tuple[SyntheticRow, ...], why: str) -> Generated:
    _log.warning("synthesis: %s%s", why, INSTEAD)
    return Generated(pool, why + INSTEAD)
