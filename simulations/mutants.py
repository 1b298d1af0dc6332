# SPDX-License-Identifier: Apache-2.0
"""Break the privacy engine on purpose, one way at a time, and see that a named test turns red.

    python -m simulations.mutants [NAME ...] [--list] [--out FILE.json]      (or: make mutants)

Each mutant replaces one piece of text in a copy of the repository and runs the tests that must fail there. A
mutant that survives, or a text that no longer stands in its file, fails the run: then the tests, or this
list, have fallen behind the code. The list is ``simulations/mutants.toml``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("fedpeft", "tests", "simulations", "client", "server", "pyproject.toml", "README.md", "LICENSE")
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Mutant:
    """One way to be wrong.

    Attributes:
        why: what it would do to a guarantee.
        tests: of which at least one must fail; node ids or files of pytest.
    """

    name: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def main() -> int:
    """Parse, run, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--list", action="store_true", help="name them and stop")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    mutants = [mutant for mutant in load() if not arguments.names or mutant.name in arguments.names]
    if arguments.list:
        print("\n".join(f"{mutant.name}: {mutant.why}" for mutant in mutants))
        return 0
    outcomes, started = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        make_copy(copy)
        for mutant in mutants:
            outcomes[mutant.name] = outcome = run(mutant, copy)
            print(
                f"{'KILLED' if outcome.startswith('killed') else 'SURVIVED'}  {mutant.name}: {outcome}",
                flush=True,
            )
    survivors = [name for name, outcome in outcomes.items() if not outcome.startswith("killed")]
    print(f"{len(mutants)} mutants, {len(survivors)} survive" + "".join(f"\n  {name}" for name in survivors))
    if arguments.out:
        result = {"mutants": len(mutants), "survivors": survivors, "seconds": time.monotonic() - started}
        arguments.out.write_text(
            json.dumps(result | {"outcomes": outcomes}, indent=2) + "\n", encoding="utf-8"
        )
    return 1 if survivors else 0


def load() -> list[Mutant]:
    """All mutants.

    Raises:
        ValueError: a name stands twice.
    """
    content = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    mutants = [Mutant(**entry | {"tests": tuple(entry["tests"])}) for entry in content["mutant"]]
    if len({mutant.name for mutant in mutants}) != len(mutants):
        raise ValueError("mutants.toml: a name stands twice")
    return mutants


def fault(mutant: Mutant, root: Path) -> str:
    """Why a mutant cannot be made; empty if it can."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.file} is not there"
    found = path.read_text("utf-8").count(mutant.old)
    if found != 1:
        return f"its text stands {found} times in {mutant.file}, not once"
    absent = [test for test in mutant.tests if not (root / test.partition("::")[0]).is_file()]
    return f"{absent[0]} is not there" if absent else ""


def make_copy(folder: Path) -> None:
    """What the tests need of the repository."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)


def run(mutant: Mutant, copy: Path) -> str:
    """Run its tests in the copy, which is as it was afterwards; says what became of it."""
    if problem := fault(mutant, copy):
        return problem
    path = copy / mutant.file
    text = path.read_text("utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "killed by a test that never ended"
    finally:
        path.write_text(text, encoding="utf-8")
    failed = [line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode == 1 and failed:
        return f"killed by {failed[0]}"
    return f"its tests passed (pytest ended with {done.returncode})"


if __name__ == "__main__":
    sys.exit(main())
