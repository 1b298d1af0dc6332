# SPDX-License-Identifier: Apache-2.0
"""Choices that a public hash makes: what is held out, which records of a large unit train.

A hash of the unit or record alone is the only kind of choice that a privacy guarantee survives: adding a
unit can then never move another one from one part to the other, as shuffling would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fedpeft.data.records import Record

# Public constants. They separate the two choices from each other and from any other hash of the same text;
# changing one changes every split.
_HELD_OUT_KEY = b"fedpeft held-out units 1"
_CHOICE_KEY = b"fedpeft records of a unit 1"
_VOTE_KEY = b"fedpeft units that vote on blocks 1"


def keyed_hash(text: str, key: bytes) -> int:
    """Hash ``text`` to a whole number in [0, 2^64) under a public key of at most 64 bytes."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "big")


def is_held_out(unit: str, fraction: float) -> bool:
    """Say whether a unit is kept for evaluation; depends on nothing but the two arguments.

    Args:
        unit: the unit's name.
        fraction: expected share of the units held out, 0 <= fraction < 1.
    """
    return keyed_hash(unit, _HELD_OUT_KEY) < int(fraction * 2**64)


def votes_on_blocks(unit: str, share: float) -> bool:
    """Say whether a unit votes on blocks where a share of the units does; depends on nothing else.

    Args:
        unit: the unit's name.
        share: expected share of the units that vote, 0 < share <= 1.
    """
    return keyed_hash(unit, _VOTE_KEY) < int(share * 2**64)


def choose_within_unit(records: Iterable[Record], limit: int) -> list[Record]:
    """Choose the records of ONE unit that train: the ``limit`` smallest by a hash of the record's id.

    Args:
        records: all records of one unit; their order does not matter.
        limit: most to keep.
    """
    return sorted(records, key=lambda record: (keyed_hash(record.id, _CHOICE_KEY), record.id))[:limit]
