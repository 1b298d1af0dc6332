# SPDX-License-Identifier: Apache-2.0
"""``fedpeft audit``: what canaries reveal, beside what is claimed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from fedpeft.audit.report import Finding, ScheduleAudit


@frame.command(
    "audit", example="audit simulations/quickstart.toml --set privacy.epsilon=2 --set privacy.delta=1e-5"
)
@frame.run_file
@click.option(
    "--canaries",
    default=1000,
    show_default=True,
    type=click.IntRange(20, 100_000),
    help="Units made up for the audit; half of them, by coins, go through the mechanism.",
)
@click.option(
    "--confidence",
    default=0.999,
    show_default=True,
    type=click.FloatRange(0.5, 1, max_open=True),
    help="Of the lower bound.",
)
def command(path: str, overrides: tuple[str, ...], canaries: int, confidence: float) -> Answer:
    """Measure a lower bound of epsilon with white-box canaries; exit 1 if it is above the claim.

    The canaries go through the run's own mechanism, multiplier, rate and number of steps; no data are read
    and nothing is trained. How often less noise than claimed would be noticed is computed beforehand.
    """
    from fedpeft.audit.report import audit, to_json
    from fedpeft.config import load_config

    audits = audit(load_config(path, overrides), canaries=canaries, confidence=confidence)
    broken = any(one.finding.broken for one in audits)
    data = {"ok": not broken, "audits": [to_json(one) for one in audits]}
    return Answer(data, "\n".join(line for one in audits for line in _lines(one)), 1 if broken else 0)


def _lines(audited: ScheduleAudit) -> Iterable[str]:
    design, finding = audited.design, audited.finding
    steps = design.steps
    yield (
        f"{', '.join(audited.sites)}: {steps.steps} steps at multiplier {steps.noise_multiplier:g}, rate "
        f"{steps.sampling_rate:g}, arithmetic {steps.arithmetic}"
    )
    yield (
        f"  claimed epsilon {design.epsilon:.4f} at delta {design.delta:.3g}; lower bound "
        f"{finding.bound:.4f} with confidence {1 - design.significance:g}: claim {_verdict(finding)}"
    )
    yield (
        f"  {design.canaries:,} canaries, {finding.correct} of {finding.guesses} guesses right, area under "
        f"the curve {finding.area_under_curve:.4f}"
    )
    for name, control in audited.controls.items():
        words = {"quarter": "a quarter of the noise", "none": "no noise"}[name]
        yield (
            f"  control with {words}: lower bound {control.bound:.4f}, claim {_verdict(control)}; "
            f"expected in {audited.power[name]:.0%} of runs"
        )
    if min(audited.power.values()) < 0.5:
        yield "  warning: this audit would hardly notice missing noise; lower privacy.delta or add canaries"


def _verdict(finding: Finding) -> str:
    return "BROKEN" if finding.broken else "not refuted"
