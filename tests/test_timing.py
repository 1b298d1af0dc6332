# SPDX-License-Identifier: Apache-2.0
"""The timing of a micro-batch: what it counts, and that it leaves the backbone as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedpeft import timing
from fedpeft.cost import Lengths, shapes_of
from fedpeft.testing import tiny_backbone, tiny_config


def test_it_is_work_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone(num_blocks=4)
    names = [name for name, _ in backbone.model.named_modules()]
    clock = iter((100.0, 104.0))
    monkeypatch.setattr(timing, "perf_counter", lambda: next(clock))
    seen = []
    real = timing.unit_gradients

    def watch(model, adapter, batch, how):
        seen.append((batch.num_tokens, {segment.block for segment in adapter.layout.segments}))
        return real(model, adapter, batch, how)

    monkeypatch.setattr(timing, "unit_gradients", watch)
    threads = torch.get_num_threads()
    lengths = Lengths(32, 8)
    found = timing.measured_speed(backbone, tiny_config(tmp_path), lengths)
    torch.set_num_threads(threads)
    assert seen == [(512, {3})] * 3  # one that does not count, two that do
    shapes = shapes_of(backbone.model)
    assert found == pytest.approx(32 * (shapes.below(3, lengths) + shapes.above(3, lengths)) / 4)
    assert [name for name, _ in backbone.model.named_modules()] == names
