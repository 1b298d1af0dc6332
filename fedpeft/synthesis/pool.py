# SPDX-License-Identifier: Apache-2.0
"""Private Evolution's first step on a public pool: sites vote once, and the pool is resampled accordingly.

One histogram over few bins needs little budget and no language model (Lin et al. 2023, arXiv:2305.15560; Xie
et al. 2024, arXiv:2403.01749; here with a vote of norm at most 1 a unit and a single iteration).
"""

from __future__ import annotations

import logging
from typing import ClassVar, final

from fedpeft.synthesis.base import Generated, Generator, Tools
from fedpeft.synthesis.binning import make_bins
from fedpeft.synthesis.candidates import all_candidates
from fedpeft.synthesis.resampling import clear_votes, resample, sample

_log = logging.getLogger(__name__)

DROWNED = "no bin had more votes than noise alone may make; the pool was sampled uniformly, as `public` does"


@final
class Kind(Generator):
    """Candidates in the proportions of the votes."""

    asks_sites: ClassVar[bool] = True

    def generate(self, tools: Tools) -> Generated:
        """Embed, group, poll, resample."""
        settings = self.settings
        candidates = all_candidates(settings, self.data, tools.writer)
        bins = make_bins(candidates, settings.bins, settings.seed)
        weights = clear_votes(tools.poll(bins.centres))
        if weights.any():
            return Generated(resample(candidates, bins.bin_of, weights, settings.size, settings.seed))
        _log.warning("synthesis: %s; see `fedpeft plan` for bins and epsilon_share", DROWNED)
        return Generated(sample(candidates, settings.size, settings.seed), DROWNED)
