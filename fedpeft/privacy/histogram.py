# SPDX-License-Identifier: Apache-2.0
"""What is asked and answered in a vote: into which public bins a site's units fall."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from fedpeft.types import PROTOCOL_VERSION, FloatVector, PrivacyEvent, RefusalCode, Transport

MAX_BINS = 4096
MAX_NEIGHBOURS = 64

SYNTHESIS: Final = "synthesis"
"""Stage of votes on bins of texts."""
SELECTION: Final = "selection"
"""Stage of votes on the adapter's blocks."""

_BLOCK_GRADIENTS: Final = "block-gradients "


def block_map(layout_digest: str) -> str:
    """The name of the map from a record to the lengths of its gradient, one for each block of an adapter."""
    return _BLOCK_GRADIENTS + layout_digest


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """A vote asked of one site: every training unit votes for the bins that its records are nearest to.

    Attributes:
        run_id: of a commitment that has votes of the request's stage.
        noise_multiplier: standard deviation of the noise on each bin; a unit's vote has L2 norm at most 1.
        embedding: the public map from a record to a vector, that ``bins`` lie in the range of: of its text,
        or
            what :func:`block_map` names.
        neighbours: k, for how many bins each record votes, ``1/sqrt(k)`` for each.
        bins: ``(num_bins, dimension)`` float32, public.
    """

    run_id: str
    request_id: str
    noise_multiplier: float
    embedding: str
    neighbours: int
    bins: npt.NDArray[np.float32]
    ledger_head: str
    protocol: int = PROTOCOL_VERSION

    kind: ClassVar[str] = "gaussian"
    sampling_rate: ClassVar[float] = 1.0
    local_steps: ClassVar[int] = 1

    @property
    def stage(self) -> str:
        """What the vote is for, and which committed votes pay for it."""
        return SELECTION if self.embedding.startswith(_BLOCK_GRADIENTS) else SYNTHESIS

    def digest(self) -> str:
        """Hash of the whole content but the echoed head."""
        parts = (
            self.run_id, self.request_id, self.noise_multiplier, self.embedding, self.neighbours,
            self.bins.shape, self.protocol,
        )  # fmt: skip
        digest = hashlib.sha256(repr((self.stage, parts)).encode())
        digest.update(np.ascontiguousarray(self.bins, dtype="<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class PrivateHistogram:
    """What leaves a site after a vote.

    Attributes:
        values: ``(num_bins,)`` float32, the noised sums; may be negative.
        event: what they cost.
        ledger_head: of the site's ledger, which already holds the event.
    """

    request_id: str
    values: FloatVector
    event: PrivacyEvent
    ledger_head: str


VoteAnswer = PrivateHistogram | RefusalCode


class VotingTransport(Transport, Protocol):
    """A transport that reaches sites for votes as well."""

    def vote(
        self, requests: Mapping[str, VoteRequest], deadline_s: float
    ) -> Iterable[tuple[str, VoteAnswer]]:
        """Ask each site for its histogram; answers in the order of the requests."""
        ...
