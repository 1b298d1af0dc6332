# SPDX-License-Identifier: Apache-2.0
"""What a run ends with at every site: its adapter, its result and what a report needs, as one last message.

No file travels by a name. The adapter comes as the flat vector that every round's request carries, and the
site writes its own folder from it, so that whoever sends it names no path and chooses no format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from fedpeft.privacy.metric import EvaluatingTransport
from fedpeft.types import PROTOCOL_VERSION, FloatVector, RefusalCode

PAPERS: Final = {"result": 1 << 20, "config": 1 << 20, "rounds": 1 << 22}
"""The texts of a delivery and the most bytes of each; a thousand sites' result is a quarter of that."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A run's adapter and result, for one site.

    Attributes:
        run_id: of the run that the site has committed to.
        layout_digest: ``Adapter.digest`` of the adapter both sides must have built.
        adapter: ``(D,)`` float32, the state that the run exports.
        result: the bytes of ``result.json``.
        config: of ``config.toml``.
        rounds: of ``rounds.jsonl``.
        digest: ``content_digest`` as the sender had it.
    """

    run_id: str
    layout_digest: str
    adapter: FloatVector
    result: bytes
    config: bytes
    rounds: bytes
    digest: str
    protocol: int = PROTOCOL_VERSION

    @classmethod
    def of(
        cls,
        run_id: str,
        layout_digest: str,
        adapter: FloatVector,
        result: bytes,
        config: bytes = b"",
        rounds: bytes = b"",
    ) -> Delivery:
        """With its digest."""
        unsealed = cls(run_id, layout_digest, adapter, result, config, rounds, "")
        return replace(unsealed, digest=unsealed.content_digest())

    def content_digest(self) -> str:
        """Hash of everything else, in hexadecimal digits."""
        digest = hashlib.sha256(repr((self.run_id, self.layout_digest, self.protocol)).encode())
        for paper in PAPERS:
            digest.update(hashlib.sha256(getattr(self, paper)).digest())
        digest.update(np.ascontiguousarray(self.adapter, dtype="<f4").tobytes())
        return digest.hexdigest()


class DeliveringTransport(EvaluatingTransport, Protocol):
    """A transport that brings results to sites as well."""

    def deliver(
        self, deliveries: Mapping[str, Delivery], deadline_s: float
    ) -> Mapping[str, RefusalCode | None]:
        """Bring each site its own; ``None`` says that it is kept, and a silent site is left out."""
        ...
