# SPDX-License-Identifier: Apache-2.0
"""What is carried beside an adapter is part of the model everywhere, and is trained nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from fedpeft.adapters.adapter import Adapter, plan_layout
from fedpeft.adapters.peft_format import export_peft
from fedpeft.settings import AdapterSettings
from fedpeft.testing import dummy_examples, float64_models, tiny_backbone
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.probe import probe

SETTINGS = AdapterSettings(kind="lora", rank=2, residual_rank=3)


def state_for(adapter: Adapter) -> np.ndarray:
    random = np.random.default_rng(1)
    return (0.1 * random.standard_normal(adapter.layout.state_size)).astype(np.float32)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 23).view(2, 10)).logits


def merged(adapter: Adapter) -> Adapter:
    """Another adapter with the same trained numbers, on a backbone whose weights hold what is carried."""
    dtype = next(adapter.model.parameters()).dtype
    plain = Adapter(tiny_backbone(dtype=dtype).model, SETTINGS.model_copy(update={"residual_rank": 0}))
    for module, other in zip(adapter.modules, plain.modules, strict=True):
        assert module.residual is not None
        left, right = (factor.to(dtype) for factor in module.residual)
        with torch.no_grad():
            other.base.weight += left @ right
    return plain


def test_outputs_and_gradients_are_those_of_a_backbone_that_holds_it() -> None:
    with float64_models():
        adapter = Adapter(tiny_backbone(dtype=torch.float64).model, SETTINGS)
        state = state_for(adapter)
        adapter.load(state)
        plain = merged(adapter)
        plain.load(state[: plain.layout.size])
        torch.testing.assert_close(logits(adapter.model), logits(plain.model), rtol=1e-9, atol=1e-9)
        (batch,) = plan_batches([(e,) for e in dummy_examples((9, 14, 5), 300)], 60)
        ours = unit_gradients(adapter.model, adapter, batch)
        for one, other in zip(ours, unit_gradients(plain.model, plain, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "how"),
    [
        (torch.float32, Execution(autocast=torch.bfloat16)),
        (torch.bfloat16, Execution()),
        (torch.float32, Execution(checkpointing=True)),
    ],
    ids=["autocast", "bfloat16", "checkpointing"],
)
def test_how_a_step_is_computed_moves_gradients_by_rounding_only(dtype: torch.dtype, how: Execution) -> None:
    adapter, exact = (Adapter(tiny_backbone(dtype=kind).model, SETTINGS) for kind in (dtype, torch.float32))
    (batch,) = plan_batches([(e,) for e in dummy_examples((9, 14, 5), 300)], 60)
    found = []
    for one, way in ((adapter, how), (exact, Execution())):
        one.load(state_for(one))
        gradients = unit_gradients(one.model, one, batch, way)
        found.append(torch.cat([gradient.float().flatten() for gradient in gradients]))
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 0.05


def test_it_does_something() -> None:
    """The control."""
    adapter = Adapter(tiny_backbone().model, SETTINGS)
    state = state_for(adapter)
    adapter.load(state)
    before = logits(adapter.model)
    adapter.load(state[: adapter.layout.size])  # a vector of trained numbers carries nothing
    assert not torch.allclose(before, logits(adapter.model), atol=1e-4)
    adapter.load(adapter.zeros())
    torch.testing.assert_close(logits(adapter.model), logits(tiny_backbone().model))


def test_an_export_gives_the_same_logits(tmp_path: Path) -> None:
    adapter = Adapter(tiny_backbone().model, SETTINGS)
    state = state_for(adapter)
    left = adapter.layout.carried[0]
    state[left.slice].reshape(left.shape)[:, 1:] = 0.0  # this module has room that is not used
    adapter.load(state)
    export_peft(adapter, tmp_path, "tiny")
    with torch.no_grad():
        loaded = PeftModel.from_pretrained(tiny_backbone().model, str(tmp_path))
    torch.testing.assert_close(logits(loaded), logits(adapter.model), rtol=1e-4, atol=1e-5)


def test_the_plan_knows_it_and_the_probe_passes() -> None:
    adapter = Adapter(tiny_backbone().model, SETTINGS)
    assert plan_layout(tiny_backbone().model.to("meta"), SETTINGS) == adapter.layout
    probe(adapter.model, adapter, 64)
    alike = Adapter(tiny_backbone().model, SETTINGS.model_copy(update={"residual_rank": 0}))
    assert alike.layout.segments == adapter.layout.segments
    assert alike.digest != adapter.digest


@pytest.mark.parametrize("wrong", [-1, 1])
def test_another_length_is_refused(wrong: int) -> None:
    adapter = Adapter(tiny_backbone().model, SETTINGS)
    with pytest.raises(ValueError, match="adapter vector"):
        adapter.load(np.zeros(adapter.layout.state_size + wrong, np.float32))
