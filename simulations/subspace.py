# SPDX-License-Identifier: Apache-2.0
"""Make the file that ``adapter.start_file`` names, from public records.

::

python -m simulations.subspace RUN.toml --data PUBLIC.jsonl --out start.safetensors [--records 64] [--rank 8]

Blocks and modules are those of the run. The records must be public: rows of the file go into the adapter as
they are, and what synthetic rows cost would not be in the sentence of the run that takes the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fedpeft.backbone.loading import load_backbone
from fedpeft.config import load_config
from fedpeft.data.prompts import Prompter
from fedpeft.errors import ConfigError, UserError
from fedpeft.layer_choice import rows_to_play_on
from fedpeft.selection.rows import encode
from fedpeft.speed import loss_of
from fedpeft.subspace import gradient_subspaces, save_subspaces


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, compute, write; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m simulations.subspace", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data", type=Path, help="default: selection.data of the run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--rank", type=int, help="default: adapter.rank of the run")
    asked = parser.parse_args(arguments)
    try:
        config = load_config(asked.run, asked.set)
        rows = rows_to_play_on(config, asked.data)
        if rows.rows.facts["source"] == "synthetic":
            raise ConfigError(
                f"--data {asked.data or config.selection.data}: is synthetic; take public records"
            )
        backbone = load_backbone(config.model)
        prompter = Prompter.of(backbone.tokenizer, config.data)
        examples = encode(rows.rows.records[: asked.records], prompter)
        how = loss_of(config, backbone)
        found = gradient_subspaces(backbone.model, config.adapter, examples, asked.rank, how)
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    name = (asked.data or config.selection.data or asked.run).name
    save_subspaces(asked.out, found, f"{len(examples)} public records of {name}")
    print(f"{asked.out}: {len(found)} modules, from {len(examples)} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
