# SPDX-License-Identifier: Apache-2.0
"""The sentence to sign: what a run promises, to whom, and what it leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Context

from fedpeft.config import RunConfig
from fedpeft.methods.base import find
from fedpeft.synthesis.certificate import Certificate
from fedpeft.synthesis.dataset import CERTIFICATE_FILE


def site_epsilons(config: RunConfig) -> dict[str, float]:
    """The cap of each site: its own epsilon, or the run's."""
    return {site.name: site.epsilon or config.privacy.epsilon for site in config.sites}


def guarantee(config: RunConfig) -> str:
    """The sentence to sign, or ``none: `` and why there is none."""
    reason = find(config.method).no_guarantee
    if reason is not None:
        return f"none: {reason}"
    if config.run.seed is not None:
        return f"none: seeded (run.seed = {config.run.seed} makes the noise predictable)"
    promise = _promise(
        "Everything a site sends in this run", config, max(site_epsilons(config).values()), config.delta
    )
    parts = [promise, *_left_open_by_settings(config)]
    if config.evaluation.private:
        parts.append("Counts of right held-out units are noised, and paid for out of the same epsilon.")
    start = cost_of_rows(config)
    if start is not None:
        parts.append(
            "It begins from synthetic records whose making cost "
            f"({round_up(start[0])}, {round_up(start[1])}) in a run "
            "of its own; for whoever is in the data of both, the two add up."
        )
    if config.evaluation.records and not config.evaluation.public:
        parts.append("Metrics are exact on held-out records: they are NOT PRIVATE and not covered.")
    if config.data.source == "sites":
        parts.append(
            "What an organization's own settings leave open - arithmetic, precision, records without a unit "
            "- stands in its SITE.toml, not here."
        )
    return " ".join([*parts, _not_covered(config)])


def organization_guarantee(config: RunConfig, epsilon: float, delta: float) -> str:
    """What one organization's ledger bounds of what it sent in a run, and what its own settings leave open.

    Args:
        config: of its resident site.
        epsilon: that the ledger committed to the run.
        delta: likewise.
    """
    promise = _promise("Everything this organization sent in this run", config, epsilon, delta)
    return " ".join([promise, *_left_open_by_settings(config), _not_covered(config)])


def _promise(what: str, config: RunConfig, epsilon: float, delta: float) -> str:
    unit = "record" if config.privacy.unit == "record" else f"value of {config.privacy.unit!r}"
    return (
        f"{what} is ({round_up(epsilon)}, {round_up(delta)})-"
        f"differentially private for adding or removing one {unit} of its data, against an "
        "adversary who sees every message, controls the coordinator and the other sites, and knows the code."
    )


def _left_open_by_settings(config: RunConfig) -> Iterator[str]:
    privacy = config.privacy
    if privacy.unit != "record" and privacy.missing_unit == "record":
        yield f"A record without {privacy.unit!r} is a unit of its own."
    if config.data.source == "docstrings":
        yield (
            "The data set is the table of docstrings after duplicates were dropped over all packages, "
            "which is a step for public demonstration data only."
        )
    # The library for 4 bits chooses its kernels by the shape of a micro-batch.
    kernels = {"none": "float32", "4bit": "4-bit kernels"}[config.model.quantization]
    coarse = {config.model.dtype, config.training.autocast, kernels} - {"float32", "off"}
    if coarse:
        yield (
            f"Rounding in {' and '.join(sorted(coarse))}, by which examples of one micro-batch move one "
            "another's gradients, is not covered."
        )


def _not_covered(config: RunConfig) -> str:
    in_floats = ", floating-point attacks" if config.privacy.arithmetic == "float" else ""
    return (
        "Not covered: a person in several sites' data, response times, what the backbone already knew, a "
        f"compromised host{in_floats}."
    )


def cost_of_rows(config: RunConfig) -> tuple[float, float] | None:
    """Epsilon and delta of another run's synthetic rows that this one reads; ``None`` where it reads none.

    Raises:
        DataError: their certificate is damaged.
    """
    path = config.selection.data
    if path is None or not (path / CERTIFICATE_FILE).is_file():
        return None
    certificate = Certificate.from_json((path / CERTIFICATE_FILE).read_text("utf-8", "replace"))
    return (certificate.epsilon, certificate.delta) if certificate.contributors else None


def round_up(number: float) -> str:
    """Six digits, rounded up: what is printed is never below what is meant."""
    rounded = Context(prec=6, rounding=ROUND_CEILING).create_decimal(repr(number))
    return f"{float(rounded):g}"
