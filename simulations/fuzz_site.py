# SPDX-License-Identifier: Apache-2.0
"""Ten thousand malformed requests to a resident site, and a thousand malformed policy and site files.

    python -m simulations.fuzz_site [--requests 10000] [--files 1000] [--out FILE.json]

Request n is drawn from seed n, so one that breaks a promise can be sent again. With ``--out`` a run that was
stopped goes on from its last hundred.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fedpeft.site.remote import RemoteSite
from simulations.fuzz.files import fuzz_files
from simulations.fuzz.organization import Watch, with_site
from simulations.fuzz.requests import Tally, fuzz, prepare

_PARTS = ("requests", "files")


def main() -> int:
    """Parse, run, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    tallies, seconds = _read(arguments.out)
    since = time.monotonic()

    def save() -> str:
        text = json.dumps(_result(tallies, seconds + time.monotonic() - since), indent=2) + "\n"
        if arguments.out:
            arguments.out.write_text(text, encoding="utf-8")
        return text

    def ask(remote: RemoteSite, sound: dict[str, bytes], watch: Watch) -> None:
        prepare(remote, sound)
        fuzz(remote, sound, watch, arguments.requests, tallies["requests"], save)

    if tallies["requests"].done < arguments.requests:
        with_site(ask)
    with tempfile.TemporaryDirectory() as folder:
        fuzz_files(Path(folder), arguments.files, tallies["files"])
    print(save(), end="")
    return 1 if any(tally.broken for tally in tallies.values()) else 0


def _result(tallies: dict[str, Tally], seconds: float) -> dict[str, Any]:
    parts = {
        name: {"done": tally.done, "answers": dict(sorted(tally.answers.items())), "broken": tally.broken}
        for name, tally in tallies.items()
    }
    return {**parts, "seconds": seconds}


def _read(path: Path | None) -> tuple[dict[str, Tally], float]:
    if path is None or not path.exists():
        return {name: Tally() for name in _PARTS}, 0.0
    found = json.loads(path.read_text("utf-8"))
    tallies = {
        name: Tally(part["done"], Counter(part["answers"]), list(part["broken"]))
        for name, part in ((name, found[name]) for name in _PARTS)
    }
    return tallies, found["seconds"]


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # a line for every refusal
    sys.exit(main())
