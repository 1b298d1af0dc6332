# SPDX-License-Identifier: Apache-2.0
"""``fedpeft plan``: what a run will cost, before anything is trained or read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from rich.console import Group

    from fedpeft.plan import Plan


@frame.command("plan", example="plan simulations/quickstart.toml --set privacy.epsilon=4")
@frame.run_file
def command(path: str, overrides: tuple[str, ...]) -> Answer:
    """Show noise, steps, epsilon, parameters and bytes of a run, without training or reading data."""
    from fedpeft.config import load_config
    from fedpeft.plan import make_plan

    plan = make_plan(load_config(path, overrides))
    return Answer(plan.to_json(), _text(plan))


def _text(plan: Plan) -> Group:
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"epsilon {plan.epsilon:g}, delta {plan.delta:.3g}, unit {plan.unit}")
    for name in ("site", "declared units", "rate", "expected batch", "noise multiplier", "steps", "epsilon"):
        table.add_column(name, justify="left" if name == "site" else "right")
    for site in plan.sites:
        table.add_row(
            site.name,
            f"{site.declared_units:,}",
            f"{site.sampling_rate:g}",
            f"{site.expected_batch:,.1f}",
            f"{site.noise_multiplier:.4f}",
            f"{site.steps}",
            f"{site.epsilon:.4f}",
        )
    lines = [
        f"{plan.layout.size:,} trainable parameters, {plan.trainable_percent:.3f} % of the backbone, "
        f"in {len(plan.layout.segments)} segments; {plan.bytes_a_round:,} bytes a round",
        f"{plan.dimensions.trainable:,} trainable dimensions, carried: {plan.dimensions}; "
        f"signal over noise {plan.signal_over_noise:.3g} for a mean clipped gradient of norm 1",
        *(f"warning: {warning}" for warning in plan.warnings),
        f"guarantee: {plan.guarantee}",
    ]
    return Group(table, *lines)
