# SPDX-License-Identifier: Apache-2.0
"""Numbers of two bytes on the network: adapters going down and, after their noise, releases going up.

Rounding what has been released is post-processing: it changes no event, no ledger and no epsilon. Both ends
reckon in float32 or better; nothing is summed in two bytes.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np

from fedpeft.types import FloatVector

WireType = Literal["float32", "float16", "bfloat16"]
WIRE_TYPES: Final[tuple[str, ...]] = get_args(WireType)

_LARGEST: Final = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}
_QUIET_NAN: Final = 0x7FC0


def narrow(vector: FloatVector, wire_type: str) -> bytes:
    """Little-endian, rounded to the nearest, ties to even; a finite value stays finite.

    Args:
        vector: ``(d,)``.
        wire_type: one of ``WIRE_TYPES``.
    """
    plain = np.ascontiguousarray(vector, dtype="<f4")
    if wire_type == "float32":
        return plain.tobytes()
    largest = np.float32(_LARGEST[wire_type])
    kept = np.where(np.isfinite(plain), np.clip(plain, -largest, largest), plain)
    if wire_type == "float16":
        return kept.astype("<f2").tobytes()
    bits = kept.view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(kept), np.uint32(_QUIET_NAN), rounded).astype("<u2").tobytes()


def widen(data: bytes, wire_type: str) -> FloatVector:
    """``(d,)`` the float32 values that ``narrow`` wrote, read-only; exact.

    Raises:
        ValueError: not a whole number of values.
    """
    if wire_type == "float32":
        return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    if wire_type == "float16":
        wide = np.frombuffer(data, dtype="<f2").astype(np.float32)
    else:
        wide = (np.frombuffer(data, dtype="<u2").astype("<u4") << np.uint32(16)).view("<f4")
        wide = wide.astype(np.float32, copy=False)
    wide.flags.writeable = False
    return wide


def wire_bytes(num_values: int, wire_type: str) -> int:
    """What so many values take on the network."""
    return num_values * (4 if wire_type == "float32" else 2)
