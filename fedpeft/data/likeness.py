# SPDX-License-Identifier: Apache-2.0
"""When two texts count as one."""

from __future__ import annotations

import re
from typing import Final

_NOISE: Final = re.compile(r"[\W\d_]+")


def plain(text: str) -> str:
    """The text without what may differ: case, digits, spaces and punctuation; possibly empty."""
    return _NOISE.sub(" ", text).strip().casefold()
