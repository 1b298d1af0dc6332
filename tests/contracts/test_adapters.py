# SPDX-License-Identifier: Apache-2.0
"""What every adapter kind in its folder promises: a new file is held to it without a line here."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from fedpeft.adapters.adapter import Adapter, find_kind, plan_layout
from fedpeft.adapters.peft_format import export_peft
from fedpeft.config import option_names
from fedpeft.settings import AdapterSettings
from fedpeft.testing import TINY_KINDS, dummy_examples, float64_models, gradient_error, tiny_backbone
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.probe import probe

KINDS = option_names("adapter.kind")
TALLER_THAN_ANY = 80  # the widest module of a tiny backbone has 128 outputs, none has 80 inputs


def attached(
    kind: str,
    backbone: str = "llama",
    dtype: torch.dtype = torch.float32,
    weights: int = 0,
    **settings: object,
) -> Adapter:
    model = tiny_backbone(backbone, weights, dtype).model
    return Adapter(model, AdapterSettings(**({"kind": kind, "rank": 4} | settings)))


def values_for(adapter: Adapter, scale: float = 0.1) -> np.ndarray:
    return scale * np.random.default_rng(1).standard_normal(adapter.layout.size).astype(np.float32)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 23).view(2, 10)).logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", TINY_KINDS)
def test_gradients_equal_a_loop_in_float64(kind: str, backbone: str) -> None:
    with float64_models():
        adapter = attached(kind, backbone, torch.float64)
        error = gradient_error(
            adapter, values_for(adapter), dummy_examples((9, 14, 5, 21), 300), max_tokens=30
        )
    assert error < 1e-10


@pytest.mark.parametrize(
    "how",
    [Execution(loss_q=0.3), Execution(loss_q=1.0), Execution(loss_q=0.3, vocabulary=tuple(range(0, 300, 3)))],
    ids=["q=0.3", "q=1", "some tokens"],
)
def test_gradients_of_other_losses_are_of_one_example_each(how: Execution) -> None:
    """In a batch and alone, in float64: the loss of a token couples no examples."""
    with float64_models():
        adapter = attached("ffa", "llama", torch.float64)
        adapter.load(values_for(adapter))
        units = [(example,) for example in dummy_examples((9, 14, 21), 300)]
        (batch,) = plan_batches(units, 200)
        together = unit_gradients(adapter.model, adapter, batch, how)
        for i, unit in enumerate(units):
            (alone,) = plan_batches([unit], 200)
            for one, other in zip(together, unit_gradients(adapter.model, adapter, alone, how), strict=True):
                torch.testing.assert_close(one[i], other[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", ["ffa", "lora"])
@pytest.mark.parametrize("rank", [4, 48])
def test_a_start_from_the_weight_is_orthonormal_and_of_the_weight(kind: str, rank: int) -> None:
    adapter = attached(kind, rank=rank, start="weight")
    drawn = attached(kind, rank=rank)
    assert adapter.digest != drawn.digest
    for module, other in zip(adapter.modules, drawn.modules, strict=True):
        (a,) = module.fixed()
        torch.testing.assert_close(a @ a.t(), torch.eye(len(a)), rtol=0, atol=1e-5)
        weight = module.base.weight
        first = torch.linalg.svd(weight, full_matrices=False)[2][: min(4, len(a))]
        assert float((a[: len(first)] @ first.t()).abs().diagonal().min()) > 0.999
        assert float((other.fixed()[0][: len(first)] @ first.t()).abs().diagonal().min()) < 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_a_loop_in_float32_at_the_start(kind: str) -> None:
    adapter = attached(kind)
    values = values_for(adapter, 1e-3)
    assert gradient_error(adapter, values, dummy_examples((9, 14, 5), 300), max_tokens=60) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("how", "tolerance"),
    [(Execution(checkpointing=True), 1e-6), (Execution(autocast=torch.bfloat16), 0.05)],
    ids=["checkpointing", "autocast"],
)
def test_how_a_step_is_computed_moves_gradients_by_rounding_only(
    kind: str, how: Execution, tolerance: float
) -> None:
    adapter = attached(kind)
    adapter.load(values_for(adapter))
    (batch,) = plan_batches([(e,) for e in dummy_examples((9, 14, 5), 300)], 60)
    plain = unit_gradients(adapter.model, adapter, batch)
    for one, other in zip(plain, unit_gradients(adapter.model, adapter, batch, how), strict=True):
        assert float((one - other).norm() / one.norm()) < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_a_forward_pass_that_is_not_the_update_would_be_noticed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: an update scaled by a hundredth, as a forgotten alpha / r would do."""
    with float64_models():
        adapter = attached(kind, dtype=torch.float64)
        exact = type(adapter.modules[0]).add_update
        monkeypatch.setattr(
            type(adapter.modules[0]), "add_update", lambda self, x, y: y + 1.01 * (exact(self, x, y) - y)
        )
        error = gradient_error(adapter, values_for(adapter), dummy_examples((9, 14), 300), max_tokens=30)
    assert error > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", TINY_KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_probe_passes(kind: str, backbone: str, dtype: torch.dtype) -> None:
    adapter = attached(kind, backbone, dtype)
    probe(adapter.model, adapter, 64)
    assert all(float(t.abs().sum()) == 0 for m in adapter.modules for t in m.trained())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", TINY_KINDS)
def test_zero_changes_nothing_and_detaching_restores(kind: str, backbone: str) -> None:
    model = tiny_backbone(backbone).model
    before, modules = logits(model), [type(m) for m in model.modules()]
    adapter = Adapter(model, AdapterSettings(kind=kind, rank=3))
    torch.testing.assert_close(logits(model), before)
    adapter.load(adapter.zeros())
    torch.testing.assert_close(logits(model), before)
    adapter.load(values_for(adapter))
    assert not torch.allclose(logits(model), before)
    adapter.detach()
    assert torch.equal(logits(model), before)
    assert [type(m) for m in model.modules()] == modules


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [3, TALLER_THAN_ANY])
def test_the_plan_needs_no_weights_and_tensors_have_the_planned_shapes(kind: str, rank: int) -> None:
    settings = AdapterSettings(kind=kind, rank=rank, layers=[-1])
    adapter = Adapter(tiny_backbone().model, settings)
    assert plan_layout(tiny_backbone().model.to("meta"), settings) == adapter.layout
    shapes = [s.shape for s in adapter.layout.segments]
    assert [tuple(t.shape) for m in adapter.modules for t in m.trained()] == shapes
    ends = [0] + [s.stop for s in adapter.layout.segments]
    assert [s.start for s in adapter.layout.segments] == ends[:-1]
    assert len({s.name for s in adapter.layout.segments}) == len(shapes)


@pytest.mark.parametrize("kind", KINDS)
def test_all_parties_make_the_same_and_notice_where_they_did_not(kind: str) -> None:
    one, two = attached(kind, seed=5), attached(kind, seed=5)
    assert one.digest == two.digest
    for first, second in zip(one.modules, two.modules, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first.fixed(), second.fixed(), strict=True))
    if one.modules[0].fixed():  # a bias has nothing around it that could differ, and no rank
        assert one.digest != attached(kind, seed=6, weights=1).digest
        assert one.digest != attached(kind, seed=5, rank=3).digest
    assert one.digest != attached(kind, seed=5, layers=[1]).digest


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_of_the_backbone_changes_nothing_but_rounding(kind: str) -> None:
    exact, rounded = attached(kind), attached(kind, dtype=torch.bfloat16)
    for one, other in zip(exact.modules, rounded.modules, strict=True):
        assert all(t.dtype == torch.float32 for t in (*other.trained(), *other.fixed()))
        assert [t.shape for t in one.trained()] == [t.shape for t in other.trained()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", TINY_KINDS)
@pytest.mark.parametrize("layers", ["all", [1]], ids=str)
def test_the_export_loads_in_plain_peft_with_the_same_logits(
    kind: str, backbone: str, layers: object, tmp_path: Path
) -> None:
    adapter = attached(kind, backbone, layers=layers)
    check_export(adapter, backbone, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_above_a_module_is_padded_in_the_export(kind: str, tmp_path: Path) -> None:
    check_export(attached(kind, rank=48), "llama", tmp_path)  # hidden is 32, the MLP inside 64


def check_export(adapter: Adapter, backbone: str, folder: Path) -> None:
    adapter.load(values_for(adapter, 0.2))
    expected = logits(adapter.model)
    export_peft(adapter, folder, "some/backbone")
    with warnings.catch_warnings():  # that a bias cannot be merged where the module has none
        warnings.filterwarnings("ignore", message=".*lora_bias=True.*")
        plain = PeftModel.from_pretrained(tiny_backbone(backbone).model, str(folder))
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, logits(tiny_backbone(backbone).model), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_name_each_trained_tensor(kind: str) -> None:
    shapes = find_kind(kind).shapes(6, 5, 3)
    assert shapes
    assert all(all(side >= 1 for side in shape) for shape in shapes.values())
