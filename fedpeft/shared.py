# SPDX-License-Identifier: Apache-2.0
"""What several runs of one process need alike and make once: records, encoded data, the untouched scores.

A run by itself has one of its own and notices nothing. What is shared is looked up by everything it is made
from, so that two runs share it exactly where each would have made the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

_KEPT: Final = 4  # of each kind: enough for a grid that goes back and forth, and memory stays bounded


class Shared:
    """A memory of what was made, by kind and by what it was made from.

    What is kept is never changed by those who are given it. Data files are taken not to change while one of
    these lives. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._made: dict[str, OrderedDict[str, Any]] = {}

    def once(self, kind: str, facts: object, make: Callable[[], T]) -> T:
        """What ``make`` returns, or returned before for the same ``kind`` and ``facts``.

        Args:
            kind: of the thing; the four used last of each are kept.
            facts: everything that ``make`` depends on; its ``repr`` must tell different facts apart.
            make: called where nothing is there; what it raises is not kept.
        """
        made = self._made.setdefault(kind, OrderedDict())
        key = _digest(facts)
        if key not in made:
            made[key] = make()
        made.move_to_end(key)
        while len(made) > _KEPT:
            made.popitem(last=False)
        return cast(T, made[key])

    def keep(self, kind: str, facts: object, value: object) -> None:
        """Give back ``value``, read from a file for example, when ``facts`` are asked for."""
        self.once(kind, facts, lambda: value)


def content_digest(parts: Iterable[object]) -> str:
    """A hash of the ``repr`` of each part, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _digest(facts: object) -> str:
    return content_digest([facts])
