# SPDX-License-Identifier: Apache-2.0
"""The pool as it is: a control, and a warm start that no site pays for."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from fedpeft.synthesis.base import Generated, Generator, Poll
from fedpeft.synthesis.candidates import read_candidates
from fedpeft.synthesis.resampling import resample


@final
class Kind(Generator):
    """A uniform sample of the candidates."""

    asks_sites: ClassVar[bool] = False

    def generate(self, poll: Poll) -> Generated:  # noqa: ARG002
        """Sample."""
        candidates = read_candidates(self.settings, self.data)
        alike = np.zeros(len(candidates), dtype=np.int64)
        return Generated(resample(candidates, alike, np.ones(1), self.settings.size, self.settings.seed))
