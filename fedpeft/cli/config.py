# SPDX-License-Identifier: Apache-2.0
"""``fedpeft config``: look at a run's TOML without running it."""

from __future__ import annotations

import json

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.group("config", example="config check run.toml")
def command() -> None:
    """Check a run's TOML, show it resolved, print its JSON Schema."""


@frame.command("check", example="config check run.toml --set privacy.epsilon=4", within=command)
@frame.run_file
def check(path: str, overrides: tuple[str, ...]) -> Answer:
    """Check a run's TOML and that the files it names are there; show everything that is wrong."""
    from fedpeft.config import load_config, warnings_of

    config = load_config(path, overrides, files_must_exist=True)
    warnings = warnings_of(config)
    lines = [f"warning: {warning}" for warning in warnings]
    num_sites = len(config.sites)
    lines.append(f"{path}: good, {num_sites} {'site' if num_sites == 1 else 'sites'}")
    return Answer({"valid": True, "warnings": warnings}, "\n".join(lines))


@frame.command("show", example="config show run.toml > resolved.toml", within=command)
@frame.run_file
def show(path: str, overrides: tuple[str, ...]) -> Answer:
    """Print the whole configuration as TOML, with defaults filled in and absolute paths."""
    from fedpeft.config import load_config, to_toml

    config = load_config(path, overrides)
    return Answer(config.model_dump(mode="json"), to_toml(config).rstrip("\n"))


@frame.command(
    "schema",
    example=("config schema > run.schema.json", "config schema --markdown", "config schema --of site"),
    within=command,
)
@click.option("--markdown", is_flag=True, help="For reading: every key with its type, default and meaning.")
@click.option(
    "--of",
    type=click.Choice(["run", "site", "policy"]),
    default="run",
    help="Which file: a run's TOML, or in a deployment an organization's SITE.toml or policy.toml.",
)
def schema(markdown: bool, of: str) -> Answer:
    """Print a JSON Schema of the TOML, for an editor that completes and checks keys."""
    if of == "run":
        from fedpeft.config import json_schema
        from fedpeft.config.reference import reference

        data = json_schema()
        if markdown:
            return Answer(data, reference().rstrip("\n"))
    elif markdown:
        raise click.UsageError("--markdown: goes with --of run alone; leave one of them out")
    else:
        from fedpeft.deployment import schemas

        data = {"site": schemas.site_schema, "policy": schemas.policy_schema}[of]()
    return Answer(data, json.dumps(data, indent=2, ensure_ascii=False))
