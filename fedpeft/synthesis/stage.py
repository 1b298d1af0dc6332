# SPDX-License-Identifier: Apache-2.0
"""The coordinator's part of synthesis: have the sites asked what the generator asks, keep the data.

A stage that is finished is read from its folder, so nothing is paid twice; see :mod:`.booth` for one that was
interrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedpeft.data.embedding import NAME
from fedpeft.privacy.histogram import SYNTHESIS, VotingTransport
from fedpeft.synthesis import begun as begun_file
from fedpeft.synthesis.base import Generator, Tally, Tools
from fedpeft.synthesis.begun import Begun
from fedpeft.synthesis.booth import Booth, Question, Terms
from fedpeft.synthesis.certificate import Certificate, cost_of
from fedpeft.synthesis.dataset import SyntheticDataset, is_complete
from fedpeft.synthesis.writing import Writer
from fedpeft.types import FloatVector, PrivacyEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What the stage needs to know, all of it public.

    Attributes:
        generator: makes the data.
        name: of the generator, for the certificate.
        terms: of the run.
        train: has the sites train the adapter to write, noting in the booth what they released.
        writer: the backbone.
    """

    generator: Generator
    name: str
    terms: Terms
    train: Callable[[Booth], FloatVector | None] | None = None
    writer: Writer | None = None


def synthesize(
    transport: VotingTransport, plan: StagePlan, run_id: str, folder: Path
) -> tuple[Begun, SyntheticDataset]:
    """Make the data in ``folder``, or read those that are finished there.

    Args:
        transport: reaches the sites.
        plan: of the stage.
        run_id: of the run, where nobody was asked yet.
        folder: of the data; commitments are kept in the folder above it, the run's.

    Returns:
        What the sites were asked to commit, for the rounds that follow, and the data.

    Raises:
        DataError: the public data cannot be used, or finished data were edited.
        RunDirectoryError: the folder cannot be written.
    """
    begun = begun_file.load(folder.parent)
    if begun is not None and is_complete(folder):
        data = SyntheticDataset.read(folder)
        return dataclasses.replace(begun, events=_events(data.certificate)), data
    booth = Booth(transport, plan.terms, begun or Begun(run_id, {}), folder.parent)

    def poll(bins: npt.NDArray[np.float32]) -> Tally:
        return booth.poll(Question(SYNTHESIS, NAME, plan.generator.settings.neighbours, bins))

    train = None if plan.train is None else partial(plan.train, booth)
    made = plan.generator.generate(Tools(poll, train, plan.writer))
    certificate = _certificate(booth, plan, made.note)
    data = SyntheticDataset.certified(made.rows, certificate)
    begun_file.save(booth.begun, folder.parent)  # also where nobody was asked
    data.write(folder)
    return dataclasses.replace(booth.begun, events=_events(certificate)), data


def _events(certificate: Certificate) -> dict[str, tuple[PrivacyEvent, ...]]:
    return {site: (contribution.event,) for site, contribution in certificate.contributors.items()}


def _certificate(booth: Booth, plan: StagePlan, note: str) -> Certificate:
    """Of what was released; the data's hash is still to come."""
    events = [contribution.event for contribution in booth.contributors.values()]
    return Certificate(
        generator=plan.name,
        run_id=booth.begun.run_id if events else "",
        unit=plan.terms.unit,
        epsilon=cost_of(events, plan.terms.delta),
        delta=plan.terms.delta,
        data_sha256="",
        contributors=booth.contributors,
        left_out=booth.left_out,
        note=note,
    )
