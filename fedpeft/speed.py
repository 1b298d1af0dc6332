# SPDX-License-Identifier: Apache-2.0
"""From the keys about speed, memory and the loss to how gradients are computed; from public figures alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from fedpeft.backbone.base import Backbone
from fedpeft.config import RunConfig
from fedpeft.data.prompts import Prompter
from fedpeft.settings import TrainingSettings
from fedpeft.shared import Shared
from fedpeft.training.execution import Execution
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from fedpeft.types import Layout

_WORTH_KEEPING: Final = 0.1  # share of visits that are not a record's first; keeping costs little else
_MEGABYTE: Final = 1 << 20
_OF_SCORES: Final = 0.25  # of the states that are kept


def make_execution(
    config: RunConfig, backbone: Backbone, layout: Layout, private_folder: Callable[[], Path], shared: Shared
) -> Execution:
    """How the run's gradients are computed.

    Args:
        config: of the run.
        backbone: frozen.
        layout: of what is trained.
        private_folder: where a file of private states may be, asked for only when there is one.
        shared: with other runs of this process; states are.
    """
    training = config.training
    return replace(
        loss_of(config, backbone),
        autocast=None if training.autocast == "off" else getattr(torch, training.autocast),
        checkpointing=training.activation_checkpointing,
        prefix=_prefix(config, backbone, layout, private_folder, shared),
    )


def loss_of(config: RunConfig, backbone: Backbone) -> Execution:
    """The run's loss, computed as it comes: what trials on public or synthetic rows train and score."""
    training = config.training
    tokens = _tokens_of_labels(config, backbone) if training.loss_tokens == "labels" else ()
    return Execution(loss_q=training.loss_q, vocabulary=tokens)


def _tokens_of_labels(config: RunConfig, backbone: Backbone) -> tuple[int, ...]:
    prompter = Prompter.of(backbone.tokenizer, config.data)
    return tuple(sorted({t for label in config.evaluation.labels for t in prompter.response_ids(label)}))


def _prefix(
    config: RunConfig, backbone: Backbone, layout: Layout, private_folder: Callable[[], Path], shared: Shared
) -> PrefixCache | None:
    where = config.training.prefix_cache
    lowest = min(segment.block for segment in layout.segments)
    if where == "off" or lowest < 1 or (where == "auto" and share_of_repeats(config) < _WORTH_KEEPING):
        return None
    limit = config.training.prefix_cache_mb * _MEGABYTE
    arithmetic = (config.model.dtype, config.training.autocast, str(backbone.device))
    store = shared.once(
        "states",
        (backbone.digest, lowest, arithmetic, where, limit),
        lambda: StateStore(limit, private_folder if where == "disk" else None),
    )
    return PrefixCache(backbone.model, lowest, store)


def states_for_scores(execution: Execution, training: TrainingSettings) -> PrefixCache | None:
    """Those of training, of which scores, which come first and again and again, fill a part only.

    ``None`` under autocast, whose states are of another arithmetic than scores.
    """
    if execution.prefix is None or execution.autocast is not None:
        return None
    return execution.prefix.sharing(int(_OF_SCORES * training.prefix_cache_mb * _MEGABYTE))


def share_of_repeats(config: RunConfig) -> float:
    """Of a run's visits to units, the expected share that is not a unit's first."""
    rate = config.training.sampling_rate
    steps = config.federation.rounds * config.training.local_steps
    return 1 - (1 - (1 - rate) ** steps) / (rate * steps)
