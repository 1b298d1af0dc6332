# SPDX-License-Identifier: Apache-2.0
"""How fast this machine trains: one micro-batch of public dummy tokens on the real backbone, timed."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.base import Backbone
from fedpeft.config import RunConfig
from fedpeft.cost import Lengths, shapes_of
from fedpeft.data.prompts import Example
from fedpeft.shared import Shared
from fedpeft.speed import make_execution
from fedpeft.training.batches import Chunk, UnitBatch, token_budget
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.threads import use_threads

_TOKENS: Final = 512  # in a timed micro-batch: enough to fill two cores, a second or two on them
_REPEATS: Final = 2


def measured_speed(backbone: Backbone, config: RunConfig, lengths: Lengths) -> float:
    """Operations a second, as ``fedpeft.cost`` counts them, of the forward and backward passes of a step.

    Precision, device and checkpointing are the run's. The upper quarter of the blocks is trained meanwhile,
    so that both kinds of blocks take part. The first micro-batch, which pays for what is done once, does not
    count. The backbone is left as it was.

    Raises:
        BackboneError: the modules to train are not there.
    """
    use_threads(config.run.threads)
    shapes = shapes_of(backbone.model)
    num_blocks = len(shapes.blocks)
    trained = max(1, num_blocks // 4)
    settings = config.adapter.model_copy(update={"layers": tuple(range(-trained, 0))})
    training = config.training.model_copy(update={"prefix_cache": "off"})  # a first visit is what is timed
    uncached = config.model_copy(update={"training": training})
    count = max(1, min(_TOKENS, token_budget(config.training.max_tokens, backbone.device)) // lengths.record)
    batch = _dummy_batch(backbone, count, lengths)
    adapter = Adapter(backbone.model, settings)
    try:
        adapter.load(adapter.zeros())
        how = make_execution(uncached, backbone, adapter.layout, Path, Shared())
        unit_gradients(backbone.model, adapter, batch, how)
        _wait(backbone.device)
        start = perf_counter()
        for _ in range(_REPEATS):
            unit_gradients(backbone.model, adapter, batch, how)
        _wait(backbone.device)
        seconds = perf_counter() - start
    finally:
        adapter.detach()
    lowest = num_blocks - trained
    return _REPEATS * count * (shapes.below(lowest, lengths) + shapes.above(lowest, lengths)) / seconds


def _dummy_batch(backbone: Backbone, count: int, lengths: Lengths) -> UnitBatch:
    random = np.random.default_rng(0)
    vocabulary = int(backbone.model.get_input_embeddings().weight.shape[0])
    examples = tuple(
        Example(
            random.integers(0, vocabulary, lengths.record).astype(np.int32),
            num_prompt=lengths.record - lengths.response,
            truncated=False,
        )
        for _ in range(count)
    )
    return UnitBatch((Chunk(examples, tuple(range(count))),), count)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
