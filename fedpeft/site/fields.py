# SPDX-License-Identifier: Apache-2.0
"""What every request is checked for before any data is read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedpeft.errors import Refusal
from fedpeft.types import PROTOCOL_VERSION, RefusalCode


def check_protocol(version: int) -> None:
    """Raise :class:`Refusal` with ``PROTOCOL`` for another version than ours."""
    if version != PROTOCOL_VERSION:
        raise Refusal(RefusalCode.PROTOCOL, f"protocol {version}, this site has {PROTOCOL_VERSION}")


def refuse_malformed(checks: Mapping[str, bool]) -> None:
    """Raise :class:`Refusal` with ``MALFORMED`` if a field's check, by its name, is false."""
    wrong = [name for name, good in checks.items() if not good]
    if wrong:
        raise Refusal(RefusalCode.MALFORMED, ", ".join(wrong))


def is_positive(number: float) -> bool:
    """Whether it is finite and above zero."""
    return math.isfinite(number) and number > 0
