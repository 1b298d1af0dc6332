# SPDX-License-Identifier: Apache-2.0
"""Bring faults about, one scenario after another, and write what followed.

    python -m simulations.faults [--only PATTERN] [--again] [--list]
    python -m simulations.faults table

Each scenario adds a line to ``simulations/results/faults.jsonl``; one that has a line already is left out, so
that an interrupted matrix goes on where it was. ``table`` writes the section "Faults, measured" of
``docs/deployment.md`` from these lines.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from fedpeft.types import JsonDict
from simulations.faults import (
    bad_answers,
    disks,
    flower_deaths,
    ledgers,
    random_kills,
    site_deaths,
    stages,
    trust,
)
from simulations.faults.table import write_table
from simulations.faults.trial import Scenario, Trial

RESULTS = Path(__file__).resolve().parents[1] / "results" / "faults.jsonl"
GROUPS = (site_deaths, flower_deaths, bad_answers, trust, disks, ledgers, stages, random_kills)
SCENARIOS: dict[str, Scenario] = {
    name: scenario for group in GROUPS for name, scenario in group.SCENARIOS.items()
}


def main() -> int:
    """Parse, run what is left, tell how many failed."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=["run", "table"], default="run")
    parser.add_argument("--only", default="", help="scenarios whose name this regular expression finds")
    parser.add_argument("--again", action="store_true", help="also those that have a line already")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.what == "table":
        write_table(read_lines(arguments.out), list(SCENARIOS))
        return 0
    known = set() if arguments.again else set(read_lines(arguments.out))
    wanted = [name for name in SCENARIOS if re.search(arguments.only, name) and name not in known]
    if arguments.list:
        print("\n".join(wanted))
        return 0
    return run(wanted, arguments.out) if wanted else 0


def run(names: list[str], out: Path) -> int:
    """Run scenarios on one deployment; each adds its line to ``out``. How many found a problem."""
    failed = 0
    with Trial() as trial:
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            with trial.fresh() as findings:
                SCENARIOS[name](trial, findings)
            line = {
                "scenario": name,
                "ok": not findings.problems,
                **findings.facts,
                "problems": findings.problems,
            }
            print(json.dumps(line), flush=True)
            failed += not line["ok"]
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return failed


def read_lines(path: Path) -> dict[str, JsonDict]:
    """The newest line of each scenario."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {line["scenario"]: line for line in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(main())
