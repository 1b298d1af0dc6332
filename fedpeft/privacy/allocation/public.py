# SPDX-License-Identifier: Apache-2.0
"""What is publicly known of the segments before the first round, for rules to start from.

Such statistics are made outside the sites: from public or synthetic data, never from a site's records. A file
of them says so itself, and where they are from. They only stand in for what releases do not tell yet: like
the first value of a running mean they lose a tenth of their weight with every round, and of them only the
proportions between segments count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedpeft.errors import ConfigError
from fedpeft.privacy.allocation.history import IMPORTANCE_MEMORY, LARGEST, MEMORY, DoubleVector, History
from fedpeft.types import Layout

_FORMAT: Final = "fedpeft public statistics 1"
_NAMES: Final = ("variance", "importance", "uncertainty")


@dataclass(frozen=True, slots=True)
class PublicStatistics:
    """Of each segment, from data that are no site's.

    Attributes:
        source: what they were made from; stands in the result.
        variance: ``(S,)`` of a coordinate of a unit's gradient.
        importance: ``(S,)`` mean square of what matters of a coordinate, as of its mean gradient.
        uncertainty: ``(S,)`` how far that swings.
    """

    source: str
    variance: DoubleVector
    importance: DoubleVector
    uncertainty: DoubleVector

    def __post_init__(self) -> None:
        """Refuse what is no statistic.

        Raises:
            ConfigError: naming the field.
        """
        if not self.source.strip():
            raise ConfigError("source: must say what public data the statistics were made from; name them")
        for name in _NAMES:
            values = getattr(self, name)
            good = np.isfinite(values) & (values >= 0) & (values < LARGEST)
            if values.ndim != 1 or values.shape != self.variance.shape or not good.all():
                raise ConfigError(
                    f"{name}: must be one finite number of at least 0 for each segment; make it anew"
                )

    @classmethod
    def of_gradients(cls, layout: Layout, gradients: np.ndarray, source: str) -> PublicStatistics:
        """From gradients of public or synthetic units.

        Args:
            layout: of the vector, S segments.
            gradients: ``(n, d)``, a unit a row.
            source: what the units are.
        """
        rows = [gradients[:, segment.slice].astype(np.float64) for segment in layout.segments]
        return cls(
            source,
            variance=np.array([part.var(0).mean() for part in rows]),
            importance=np.array([np.square(part.mean(0)).mean() for part in rows]),
            uncertainty=np.array([np.square(part).mean(1).std() for part in rows]),
        )

    def save(self, path: Path, layout: Layout) -> None:
        """Write them for ``privacy.allocation_start``."""
        columns = [getattr(self, name).tolist() for name in _NAMES]
        segments = {
            segment.name: dict(zip(_NAMES, values, strict=True))
            for segment, *values in zip(layout.segments, *columns, strict=True)
        }
        content = {"format": _FORMAT, "public": True, "source": self.source, "segments": segments}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, layout: Layout) -> PublicStatistics:
        """Read what ``save`` wrote for the same segments.

        Raises:
            ConfigError: it is not there, is not declared public, or is of other segments.
        """
        try:
            return cls(**_checked(json.loads(path.read_text("utf-8")), layout))
        except OSError as error:
            problem = f"cannot be read ({error.strerror}); correct the path"
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            problem = f"is not a file of public statistics ({error}); make it anew"
        except ConfigError as error:
            problem = str(error)
        raise ConfigError(f"privacy.allocation_start = {str(path)!r}: {problem}")


def start_from(history: History, public: PublicStatistics, live: Sequence[bool]) -> History:
    """``history`` as it would be if its running means had begun with what is public.

    Args:
        history: of the S' segments that take part.
        public: of all S segments.
        live: ``(S,)`` whether each takes part.
    """
    chosen = np.asarray(live, dtype=bool)
    memory = {"variance": MEMORY, "importance": IMPORTANCE_MEMORY, "uncertainty": IMPORTANCE_MEMORY}
    fields: dict[str, Any] = {
        name: _blend(getattr(history, name), getattr(public, name)[chosen], memory[name] ** history.rounds)
        for name in _NAMES
    }
    return replace(history, **fields)


def _blend(learnt: DoubleVector, public: DoubleVector, weight: float) -> DoubleVector:
    """Proportions of what is public, at the level of what was learnt; all public where nothing was."""
    level, own = float(learnt.sum()), float(public.sum())
    if own == 0 or level == 0:
        return learnt if own == 0 else public
    return np.asarray(weight * public * (level / own) + (1 - weight) * learnt)


def _checked(content: Any, layout: Layout) -> dict[str, Any]:
    if content.get("format") != _FORMAT or content.get("public") is not True:
        raise ConfigError(f'must say "format": "{_FORMAT}" and "public": true; make it with save()')
    segments = content["segments"]
    names = [segment.name for segment in layout.segments]
    if set(segments) != set(names):
        wrong = sorted(set(segments) ^ set(names))[0]
        raise ConfigError(f"is of other segments ({wrong} is one of them); make it for this adapter")
    columns = {name: np.array([float(segments[s][name]) for s in names]) for name in _NAMES}
    return {"source": str(content["source"]), **columns}
