# SPDX-License-Identifier: Apache-2.0
"""``fedpeft plan``: what a run will cost before anything is trained or read; settings for a time budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from rich.console import Group

    from fedpeft.config import RunConfig
    from fedpeft.plan import Plan
    from fedpeft.proposal import Outlook, Proposal
    from fedpeft.types import JsonDict

_NEEDS_MINUTES = {
    "mean_length": "--mean-length",
    "mean_response": "--mean-response",
    "min_steps": "--min-steps",
}


@frame.command(
    "plan",
    example=(
        "plan run.toml --set privacy.epsilon=4",
        "plan run.toml --minutes 20",
        "plan run.toml --forecast --data public.jsonl",
    ),
)
@frame.run_file
@click.option(
    "--minutes",
    type=float,
    metavar="M",
    help="Propose sampling rate, rounds, blocks and rank for M minutes of training on this machine.",
)
@click.option("--mean-length", type=int, metavar="TOKENS", help="Of a record; default: data.max_length.")
@click.option("--mean-response", type=int, metavar="TOKENS", help="Of a response; default: half of a record.")
@click.option("--min-steps", type=int, metavar="STEPS", help="Fewest steps to propose; default: 8.")
@click.option(
    "--forecast", is_flag=True, help="Play the run on public rows at epsilon 1, 2, 4 and 8, and score it."
)
@click.option(
    "--tune", is_flag=True, help="Try learning rates, rounds, ranks and allocations on public rows."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Public rows, or a folder of synthetic ones, to play on; default: selection.data.",
)
def command(
    path: str,
    overrides: tuple[str, ...],
    minutes: float | None,
    forecast: bool,
    tune: bool,
    data: Path | None,
    **assumptions: int | None,
) -> Answer:
    """Show noise, steps, epsilon, parameters and bytes of a run, without training or reading private data."""
    from fedpeft.config import load_config
    from fedpeft.errors import ConfigError
    from fedpeft.plan import make_plan

    unused = [option for name, option in _NEEDS_MINUTES.items() if assumptions[name] is not None]
    if minutes is None and unused:
        raise ConfigError([f"{option}: has no use without --minutes; add it" for option in unused])
    config = load_config(path, overrides)
    if forecast or tune:
        return _played(config, data, forecast, tune)
    if data is not None:
        raise ConfigError("--data: has no use without --forecast or --tune; add one")
    if minutes is None:
        plan = make_plan(config)
        return Answer(plan.to_json(), _text(plan))
    proposal = _propose(config, minutes, **assumptions)
    plan = proposal.current.plan
    return Answer(plan.to_json() | {"proposal": proposal.to_json()}, _both(plan, proposal))


def _played(config: RunConfig, data: Path | None, forecast: bool, tune: bool) -> Answer:
    """The plan with what its training does on public or synthetic rows."""
    from rich.console import Group

    from fedpeft import forecast as forecasts
    from fedpeft import tuning
    from fedpeft.backbone.loading import load_backbone
    from fedpeft.cli.progress import showing_progress
    from fedpeft.cli.trial_tables import forecast_table, tuning_table
    from fedpeft.errors import together
    from fedpeft.layer_choice import rows_to_play_on
    from fedpeft.plan import make_plan

    plan, rows = together(lambda: make_plan(config), lambda: rows_to_play_on(config, data))
    found, texts = plan.to_json(), [_text(plan)]
    with showing_progress() as progress:
        backbone = load_backbone(config.model)
        if forecast:
            found["forecast"] = forecasts.forecast(config, rows, progress=progress.stage, backbone=backbone)
            texts.append(forecast_table(found["forecast"]))
        if tune:
            found["tuning"] = tuning.tune(config, rows, progress.stage, backbone)
            texts.append(tuning_table(found["tuning"]))
    return Answer(found, Group(*texts))


def _propose(
    config: RunConfig,
    minutes: float,
    *,
    mean_length: int | None,
    mean_response: int | None,
    min_steps: int | None,
) -> Proposal:
    from fedpeft.backbone.loading import load_backbone
    from fedpeft.cost import Lengths
    from fedpeft.proposal import propose
    from fedpeft.search import FEWEST_STEPS, Budget
    from fedpeft.timing import measured_speed

    length = config.data.max_length if mean_length is None else mean_length
    lengths = Lengths(length, length // 2 if mean_response is None else mean_response)
    steps = FEWEST_STEPS if min_steps is None else min_steps
    budget = Budget(minutes, 1.0, lengths, fewest_steps=steps)
    with frame.progress_console().status("load the backbone") as status:
        backbone = load_backbone(config.model)
        status.update("time a micro-batch on this machine")
        budget = budget.at(measured_speed(backbone, config, lengths))
        status.update("search")
        return propose(config, budget, lambda done, total: status.update(f"calibrate noise {done}/{total}"))


def _both(plan: Plan, proposal: Proposal) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    budget = proposal.budget
    table = Table(title=f"proposal for {budget.minutes:g} minutes of training on this machine")
    for name in ("", "current", "proposed"):
        table.add_column(name, justify="right" if name else "left")
    for row in zip(_LABELS, _figures(proposal.current), _figures(proposal.proposed), strict=True):
        table.add_row(*row)
    lines = [
        f"assumed: {budget.lengths.record} tokens a record, {budget.lengths.response} of them response; "
        f"at least {budget.fewest_steps} steps; evaluation and "
        f"loading come on top; measured: {budget.speed / 1e9:,.1f} GFLOP/s",
        *(f"note: {note}" for note in proposal.notes),
        *(f"warning, as proposed: {warning}" for warning in proposal.new_warnings),
        "to take it: " + " ".join(f"--set '{override}'" for override in proposal.overrides),
        "or in the TOML:",
        proposal.toml,
    ]
    return Group(_text(plan), table, *map(Text, lines))


_LABELS = (
    "expected minutes",
    "sampling rate",
    "expected batch, all sites",
    "steps (rounds x local steps)",
    "trained blocks",
    "rank",
    "trainable parameters",
    "noise multiplier",
    "signal over noise",
    "merit",
)


def _figures(outlook: Outlook) -> tuple[str, ...]:
    figures = outlook.to_json()
    return (
        f"{figures['minutes']:,.1f}",
        f"{figures['sampling_rate']:g}",
        f"{figures['expected_batch']:,.1f}",
        f"{figures['steps']} ({figures['rounds']} x {figures['local_steps']})",
        f"{figures['blocks']}",
        f"{figures['rank']}",
        f"{figures['trainable_parameters']:,}",
        f"{figures['noise_multiplier']:.4f}",
        f"{figures['signal_over_noise']:.3g}",
        f"{figures['merit']:.3g}",
    )


def _method_lines(method: JsonDict) -> list[str]:
    """What the preset filled in, what of it the file changed, and what is promised of inputs."""
    lines = []
    for word in ("sets", "changed"):
        if method[word]:
            lines.append(f"{word}: " + ", ".join(f"{key} = {value}" for key, value in method[word].items()))
    if "inputs" in method:
        lines.append("inputs: " + ", ".join(f"{key} {value}" for key, value in method["inputs"].items()))
    return lines


def _text(plan: Plan) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = f"epsilon {plan.epsilon:g}, delta {plan.delta:.3g}" if plan.has_epsilon else "no epsilon"
    table = Table(title=f"{plan.method['name']}: {head}, unit {plan.unit}")
    for name in ("site", "declared units", "rate", "expected batch", "noise multiplier", "steps", "epsilon"):
        table.add_column(name, justify="left" if name == "site" else "right")
    for site in plan.sites:
        table.add_row(
            site.name,
            f"{site.declared_units:,}",
            f"{site.sampling_rate:g}",
            f"{site.expected_batch:,.1f}",
            f"{site.noise_multiplier:.4f}" if plan.has_epsilon else "-",
            f"{site.steps}",
            f"{site.epsilon:.4f}" if plan.has_epsilon else "-",
        )
    lines = [
        *_method_lines(plan.method),
        f"{plan.layout.size:,} trainable parameters, {plan.trainable_percent:.3f} % of the backbone, "
        f"in {len(plan.layout.segments)} segments; {plan.bytes_a_round:,} bytes a round",
        f"{plan.dimensions.trainable:,} trainable dimensions, carried: {plan.dimensions}; "
        f"signal over noise {plan.signal_over_noise:.3g} for a mean clipped gradient of norm 1",
        *([] if plan.synthesis is None else [f"synthesis: {plan.synthesis}"]),
        *_stage_lines(plan),
        *(f"warning: {warning}" for warning in plan.warnings),
        f"guarantee: {plan.guarantee}",
    ]
    return Group(table, *map(Text, lines))  # plain: what stands in brackets is no markup


def _stage_lines(plan: Plan) -> list[str]:
    """What stages beside the training cost by themselves, and do to its noise; votes on bins say it apart."""
    from fedpeft.privacy.histogram import SYNTHESIS

    return [
        f"{name}: epsilon {fields['epsilon']:.4f} by itself; makes the training noise "
        f"{fields['training_noise']:.4f} times what it were without"
        for name, fields in (plan.stages() if plan.has_epsilon else {}).items()
        if "training_noise" in fields and (name != SYNTHESIS or plan.synthesis is None)
    ]
