# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedpeft.types import JsonDict

_PERCENT = ("ranking_accuracy", "token_accuracy")


def figure(name: str, value: float | None) -> str:
    """One value of a metric."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f} %" if name in _PERCENT else f"{value:.3g}" if value >= 1000 else f"{value:.3f}"


def with_interval(name: str, measured: JsonDict | None) -> str:
    """A value and its 95 % interval."""
    if not measured or measured.get("value") is None:
        return "-"
    low, high = (figure(name, measured[end]) for end in ("low", "high"))
    return f"{figure(name, measured['value'])} [{low}, {high}]"


def metric_name(name: str, labels: Sequence[str] = ()) -> str:
    """As a heading."""
    if name == "ranking_accuracy" and labels:
        return "Label accuracy"
    return name.replace("_", " ").capitalize()


def size(number_of_bytes: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(number_of_bytes) < 1000 or unit == "GB":
            return f"{number_of_bytes:.0f} B" if unit == "B" else f"{number_of_bytes:.1f} {unit}"
        number_of_bytes /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if hours < 1 else f"{hours:.1f} h"


def number(value: float) -> str:
    """Up to five digits."""
    return f"{value:.5g}"


def counted(count: int, noun: str) -> str:
    """``1 site``, ``2 sites``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
