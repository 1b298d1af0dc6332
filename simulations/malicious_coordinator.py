# SPDX-License-Identifier: Apache-2.0
"""Thousands of sequences of a coordinator that tries everything; what a sequence is stands in ``duel.py``.

    python -m simulations.malicious_coordinator [--sequences 2000] [--out FILE.json]

Sequence n is drawn from seed n, so one that breaks a promise can be played again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fedpeft.privacy.ledger import verify
from simulations.duel import Bench, Duel


def main() -> int:
    """Parse, run, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--moves", type=int, default=12)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    bench, moves, started, verified = Bench(), Counter[str](), time.monotonic(), 0
    for seed in range(arguments.sequences):
        with tempfile.TemporaryDirectory() as folder:
            duel = Duel(Path(folder), bench, random.Random(seed))
            try:
                duel.play(arguments.moves)
            except AssertionError as error:
                print(f"sequence {seed}: {error}")
                return 1
            if seed % 20 == 0:
                assert all(verify(site.ledger.path).ok for site in duel.sites)
                verified += 1
            moves += duel.moves
    result = {
        "sequences": arguments.sequences,
        "moves_each": arguments.moves,
        "fully_verified": verified,
        "broken": 0,
        "seconds": time.monotonic() - started,
        "answers": dict(sorted(moves.items())),
    }
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
