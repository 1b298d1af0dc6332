# SPDX-License-Identifier: Apache-2.0
"""Run one benchmark by name, or write the table of all results.

A benchmark is a module of this package with a docstring that says what it measures, ``run(quick) -> dict``
and ``rows(result)`` for the table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from simulations import benchmarks
from simulations.benchmarks.shared.measure import machine
from simulations.benchmarks.shared.table import TABLE_FILE, names, result_path, write_table


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m simulations.benchmarks", description=benchmarks.__doc__)
    parser.add_argument("name", choices=[*names(), "table"])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--quick", action="store_true", help="tiny settings: does it run, not how fast")
    parser.add_argument("--save", action="store_true", help="keep the result in simulations/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.save:
        parser.error("--save keeps figures, and those of --quick are none; leave one out")
    if arguments.name == "table":
        write_table()
        print(TABLE_FILE)
        return 0
    module = importlib.import_module(f"simulations.benchmarks.{arguments.name}")
    result = {"benchmark": arguments.name, "machine": machine(), **module.run(quick=arguments.quick)}
    text = json.dumps(result, indent=2)
    if arguments.save:
        path = result_path(arguments.name, gpu=bool(result["machine"]["cuda"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    if not arguments.json:
        print(module.__doc__, file=sys.stderr)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
