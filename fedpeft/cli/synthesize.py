# SPDX-License-Identifier: Apache-2.0
"""``fedpeft synthesize``: the first stage of a run alone."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command("synthesize", example="synthesize run.toml --set synthesis.generator=pool --out runs/first")
@frame.run_file
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run's files go; default: runs/NAME of RUN.toml.",
)
def command(path: str, overrides: tuple[str, ...], out: Path | None) -> Answer:
    """Have the sites commit the run of RUN.toml and make its synthetic data; `fedpeft resume DIR` goes on."""
    from fedpeft.config import load_config
    from fedpeft.flower.simulation import synthesize
    from fedpeft.synthesis.dataset import DATA_FILE, FOLDER
    from fedpeft.types import SEEDED_PREFIX

    folder = out or Path("runs") / Path(path).stem
    dataset = synthesize(load_config(path, overrides, files_must_exist=True), folder)
    certificate = dataset.certificate
    data = {
        "data": str(folder / FOLDER / DATA_FILE),
        "rows": len(dataset.rows),
        "generator": certificate.generator,
        "epsilon": certificate.epsilon,
        "seeded": certificate.run_id.startswith(SEEDED_PREFIX),
        "delta": certificate.delta,
        "contributors": sorted(certificate.contributors),
        "left_out": certificate.left_out,
        "note": certificate.note,
    }
    what = "rounds" if certificate.generator == "generator" else "votes"
    votes = f"{what} of {len(certificate.contributors)} sites" if certificate.contributors else f"no {what}"
    seeded = " (none: seeded)" if certificate.run_id.startswith(SEEDED_PREFIX) else ""
    lines = [
        f"{len(dataset.rows)} rows in {data['data']}, from {votes}, which cost epsilon "
        f"{certificate.epsilon:.4f} by themselves at delta {certificate.delta:.3g}{seeded}",
        *(f"without {site}: {reason}" for site, reason in sorted(certificate.left_out.items())),
        *([certificate.note] if certificate.note else []),
        f"to go on: fedpeft resume {folder}",
    ]
    return Answer(data, "\n".join(lines))
