#!/usr/bin/env bash
# Fills the GPU column: measures what a GPU changes on the first one of this machine, keeps the results in
# simulations/results/gpu and writes the table. Needs a torch that sees the GPU; about half an hour.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python}
"$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "torch sees no GPU here")'
for name in private_step opacus_step step_memory records_per_second utilization prefix_cache compile scaling; do
    "$python" -m simulations.benchmarks "$name" --save --json
done
"$python" -m simulations.benchmarks table
