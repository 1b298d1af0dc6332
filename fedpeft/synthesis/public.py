# SPDX-License-Identifier: Apache-2.0
"""The pool as it is: a control, and a warm start that no site pays for."""

from __future__ import annotations

from typing import ClassVar, final

from fedpeft.synthesis.base import Generated, Generator, Tools
from fedpeft.synthesis.candidates import all_candidates
from fedpeft.synthesis.resampling import sample


@final
class Kind(Generator):
    """A uniform sample of the candidates."""

    asks_sites: ClassVar[bool] = False

    def generate(self, tools: Tools) -> Generated:
        """Sample."""
        candidates = all_candidates(self.settings, self.data, tools.writer)
        return Generated(sample(candidates, self.settings.size, self.settings.seed))
