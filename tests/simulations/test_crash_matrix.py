# SPDX-License-Identifier: Apache-2.0
"""A small crash matrix, and that the matrix would see what it looks for."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# A ledger that forgets to write its charge, or its release, before the release leaves.
BROKEN = """
import sys, tempfile
from pathlib import Path
from fedpeft.privacy.ledger import Ledger
from simulations import crash_matrix

kept = {}
if sys.argv[1] == "charge":
    # Reads, so that there are statements to be killed at, and writes nothing.
    def read_only(self, request):
        self.spent(request.run_id)
    Ledger.charge = read_only
    Ledger.store = lambda self, request_id, payload: None
if sys.argv[1] == "release":
    Ledger.store = lambda self, request_id, payload: self.abandon(request_id)
with tempfile.TemporaryDirectory() as folder:
    matrix = crash_matrix.run(Path(folder), int(sys.argv[2]))
print(matrix.kills, matrix.releases, matrix.excess <= matrix.kills, len(matrix.problems))
"""


def run(broken, kills):
    command = [sys.executable, "-c", BROKEN, broken, str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500, cwd=ROOT)
    num_kills, releases, within, problems = done.stdout.split()
    return int(num_kills), int(releases), within == "True", int(problems)


def test_forty_kills_hide_no_release_and_cost_at_most_one_charge_each():
    kills, releases, within, problems = run("nothing", 40)
    assert kills >= 38
    assert releases > 0
    assert within
    assert problems == 0


def test_a_release_that_was_not_charged_or_not_kept_is_seen():
    assert run("charge", 10)[3] > 0
    assert run("release", 10)[3] > 0
