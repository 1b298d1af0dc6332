# SPDX-License-Identifier: Apache-2.0
"""The rows of Table 1: what is trained and how, and the steps that each has to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

STEPS: Final = (0.5, 1.5, 4.5)
"""Lengths of a step that are tried for each row. The clip norm C of a row is the median norm of a public
record's gradient in its adapter, and the learning rate is step / C^2: gradients of adapters differ by a
factor of five in length, and a step of one length lowers the loss alike in all of them."""

SHORT_STEPS: Final = (0.06, 0.17, 0.5)
"""Of ``lora``: A, whose gradient is zero at first, grows with B, and longer steps throw both out."""

TRIALS: Final = len(STEPS)

_GRADIENTS: Final = "experiments/sst2_gradients.safetensors"
"""Relative to the run's TOML, and made by ``python -m simulations.subspace simulations/sst2.toml --set
'adapter.layers=[-2,-1]' --set 'training.loss_tokens="labels"' --data $FEDPEFT_DATA_ROOT/sst2/sst2_dev.jsonl
--rank 1 --out FILE``."""

_FOUR_BLOCKS: Final = "adapter.layers=[-4, -3, -2, -1]"

ADAPTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "ffa": ('adapter.kind="ffa"',),
    "ffa-weight": ('adapter.kind="ffa"', 'adapter.start="weight"'),
    "ffa-gradients": ('adapter.kind="ffa"', 'adapter.start="file"', f'adapter.start_file="{_GRADIENTS}"'),
    "lora": ('adapter.kind="lora"',),
    "lora-xs": ('adapter.kind="lora-xs"', "adapter.rank=16"),
    "bias": ('adapter.kind="bias"',),
    "bias-stream": ('adapter.kind="bias"', 'adapter.modules=["o_proj", "down_proj"]', _FOUR_BLOCKS),
}
"""Subspaces; those with a rank of their own have it from the run, but for ``lora-xs``, whose updates are
square. ``bias-stream`` has the biases of those modules whose output is added to the residual stream, in twice
as many blocks: fewer than half as many numbers as ``bias``."""


@dataclass(frozen=True)
class System:
    """A row of Table 1.

    Attributes:
        adapter: of ``ADAPTERS``.
        overrides: ``SELECT`` and ``WARM`` stand for what differs between data sets.
    """

    adapter: str
    overrides: tuple[str, ...]


_SELECTED: Final = System("ffa-weight", ('method="fedpeft-selft"', "SELECT"))

ROWS: Final[Mapping[str, System]] = {
    "dp-lora": System("lora", ('method="dp-lora"',)),
    "dp-lora-product-svd": System("lora", ('method="dp-lora"', 'federation.aggregation="product-svd"')),
    "dp-bitfit": System("bias", ('method="dp-bitfit"', 'privacy.clipping="automatic"')),
    "dp-bitfit-flat": System("bias", ('method="dp-bitfit"',)),
    "anadp": System("lora", ('method="anadp"',)),
    "ffa": System("ffa", ('method="plain"',)),
    "ffa-weight": System("ffa-weight", ('method="plain"',)),
    "ffa-gradients": System("ffa-gradients", ('method="plain"',)),
    "lora-xs": System("lora-xs", ('method="plain"',)),
    "fedpeft": System("ffa-weight", ('method="fedpeft"',)),
    "dp-selft": System("ffa-weight", ('method="dp-selft"', "SELECT")),
    "fedpeft-selft": _SELECTED,
    "dp-forward": System("ffa-weight", ('method="dp-forward"',)),
    "pooled-dp": System("ffa-weight", ('method="pooled-dp"',)),
    "local-only": System("ffa-weight", ('method="local-only"',)),
    "non-private": System("ffa-weight", ('method="non-private"',)),
    "pooled": System("ffa-weight", ('method="pooled"',)),
}
"""By name."""

LATER: Final[Mapping[str, System]] = {
    "dp-lora-fedex": System("lora", ('method="dp-lora"', 'federation.aggregation="fedex"')),
    "dp-bitfit-finer": ROWS["dp-bitfit"],
    "fedpeft-stream": System("bias-stream", ('method="fedpeft"', 'privacy.clipping="automatic"')),
}
"""Rows that came on 2026-11-23, when the others had been measured. ``fedex`` was not there before. On MedQuAD
``dp-bitfit`` had been better in perplexity; what could mend that was tried on development records
(``improvement_medquad``), where the middle of the three steps turned out to be too long for every row. So the
baseline came again with steps between, and ``fedpeft`` with what had done best: the biases of the residual
stream and automatic clipping."""

STREAM_UNIFORM: Final = System(
    "bias-stream", ('method="fedpeft"', 'privacy.clipping="automatic"', 'privacy.allocation="uniform"')
)
"""``fedpeft-stream`` without its allocation, at the same step: an ablation."""

LATER_STEPS: Final[Mapping[str, tuple[float, ...]]] = {
    "dp-bitfit-finer": (0.7, 1.0, 1.5),
    "fedpeft-stream": (1.0, 1.5, 2.0),
}

NOISELESS: Final = ("non-private", "pooled")
"""References that find the same at every epsilon."""


def _without(override: str) -> System:
    return System(_SELECTED.adapter, (*_SELECTED.overrides, override))


ABLATIONS: Final[Mapping[str, System]] = {
    "full": _SELECTED,
    "allocation-off": _without('privacy.allocation="uniform"'),
    "selection-off": ROWS["fedpeft"],
    "random-layers": _without('selection.selector="random-k"'),
    "warm-start-only": System("ffa-weight", ('method="plain"', "WARM")),
    "lambda1-0": _without("federation.lambda1=0.0"),
    "lambda2-0": _without("privacy.lambda2=0.0"),
}
"""Of the full method, one part taken away at a time."""


def steps_for(row: str) -> tuple[float, ...]:
    """Those that are tried for a row."""
    ordinary = SHORT_STEPS if system_of(row).adapter == "lora" else STEPS
    return LATER_STEPS.get(row, ordinary)


def system_of(row: str) -> System:
    """Of ``ROWS`` or ``LATER``."""
    return ROWS[row] if row in ROWS else LATER[row]
