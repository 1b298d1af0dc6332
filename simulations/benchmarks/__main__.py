# SPDX-License-Identifier: Apache-2.0
"""Run one benchmark by name; its module has ``run() -> dict`` and a docstring that says what it measures."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys

from simulations import benchmarks
from simulations.benchmarks.measure import machine

_HELPERS = ("__main__", "measure")


def main() -> int:
    """Parse, run, print."""
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in _HELPERS]
    parser = argparse.ArgumentParser(prog="python -m simulations.benchmarks", description=benchmarks.__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    module = importlib.import_module(f"simulations.benchmarks.{arguments.name}")
    result = {"benchmark": arguments.name, "machine": machine(), **module.run()}
    if not arguments.json:
        print(module.__doc__, file=sys.stderr)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
