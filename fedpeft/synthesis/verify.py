# SPDX-License-Identifier: Apache-2.0
"""Whether synthetic data, their certificate and the sites' ledgers agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fedpeft.errors import DataError, FedpeftError
from fedpeft.privacy.ledger import show
from fedpeft.synthesis.certificate import Certificate, Contribution
from fedpeft.synthesis.dataset import SyntheticDataset


def problems_of(folder: Path, ledgers: Path) -> list[str]:
    """What is wrong with the synthetic data in ``folder``, one line each.

    Args:
        folder: of the data and the certificate.
        ledgers: folder of the sites' ledgers, or of extracts of them. A contributor without a ledger there is
            not checked against it: in a deployment the ledger is the organization's own.
    """
    try:
        certificate = SyntheticDataset.read(folder).certificate
    except DataError as error:
        return list(error.problems)
    return [*certificate.problems(), *_not_in_ledgers(certificate, ledgers)]


def _not_in_ledgers(certificate: Certificate, ledgers: Path) -> Iterator[str]:
    for site, contribution in certificate.contributors.items():
        path = ledgers / f"{site}.sqlite"
        if path.is_file() and not _is_charged(path, certificate.run_id, contribution):
            yield f"certificate: {path} has no released {contribution.request_id!r} of that cost"


def _is_charged(path: Path, run_id: str, contribution: Contribution) -> bool:
    try:
        rows = show(path)
    except FedpeftError:
        return False  # the ledger's own verification says what is wrong with it
    ids, claimed = set(contribution.request_ids), contribution.event
    # A request that was charged again after a crash has one release; its last charge paid for that.
    paid = {r.request_id: r.event for r in rows if r.released and r.run_id == run_id and r.request_id in ids}
    alike = {replace(event, steps=1) for event in paid.values()} == {replace(claimed, steps=1)}
    return alike and paid.keys() == ids and sum(event.steps for event in paid.values()) == claimed.steps
