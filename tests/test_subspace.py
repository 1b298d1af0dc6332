# SPDX-License-Identifier: Apache-2.0
"""Rows made from public gradients keep most of their energy, and an adapter starts from the file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from fedpeft.adapters.adapter import Adapter
from fedpeft.config import load_config
from fedpeft.errors import ConfigError
from fedpeft.settings import AdapterSettings
from fedpeft.subspace import gradient_subspaces, save_subspaces
from fedpeft.testing import dummy_examples, run_tiny_federation, tiny_backbone, tiny_config, write_records
from fedpeft.training.gradients import example_losses
from simulations import subspace as program

SETTINGS = AdapterSettings(layers=[1], rank=3)
EXAMPLES = dummy_examples((9, 14, 21), 300)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_no_other_rows_of_that_rank_keep_more_of_the_gradients(kind: str) -> None:
    model = tiny_backbone(kind).model
    found = gradient_subspaces(model, SETTINGS, EXAMPLES)
    random = torch.Generator().manual_seed(0)
    for path, rows in found.items():
        module = model.get_submodule(path)
        gradients = []
        module.weight.requires_grad_(True)
        for example in EXAMPLES:
            loss = example_losses(model, [example], torch.device("cpu")).sum()
            (g,) = torch.autograd.grad(loss, module.weight)
            gradients.append(g if isinstance(module, torch.nn.Linear) else g.t())
        module.weight.requires_grad_(False)
        stacked = torch.cat(gradients)
        torch.testing.assert_close(rows @ rows.t(), torch.eye(3), rtol=0, atol=1e-5)
        best = torch.linalg.svd(stacked, full_matrices=False)[1][:3].square().sum()
        torch.testing.assert_close((stacked @ rows.t()).square().sum(), best, rtol=1e-3, atol=1e-9)
        other = torch.linalg.qr(torch.randn(rows.shape[1], 3, generator=random))[0].t()
        assert (stacked @ other.t()).square().sum() < 0.9 * best
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_an_adapter_starts_from_the_file_and_notices_another(tmp_path: Path) -> None:
    model, path = tiny_backbone().model, tmp_path / "start.safetensors"
    found = gradient_subspaces(model, SETTINGS, EXAMPLES)
    save_subspaces(path, found, "made up")
    settings = AdapterSettings(layers=[1], rank=3, start="file", start_file=path)
    adapter = Adapter(model, settings)
    for target, module in zip(adapter.targets, adapter.modules, strict=True):
        torch.testing.assert_close(module.fixed()[0], found[target.path])
    adapter.detach()
    assert adapter.digest != Adapter(tiny_backbone().model, SETTINGS).digest
    with pytest.raises(ConfigError, match=r"has no rows for model\.layers\.0"):
        Adapter(tiny_backbone().model, settings.model_copy(update={"layers": "all"}))
    save_subspaces(path, {name: 2 * rows for name, rows in found.items()}, "not orthonormal")
    with pytest.raises(ConfigError, match="not orthonormal"):
        Adapter(tiny_backbone().model, settings)
    path.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="cannot be read"):
        Adapter(tiny_backbone().model, settings)


def test_a_run_starts_from_what_the_program_made(tmp_path: Path) -> None:
    tiny_config(tmp_path, num_records=16)
    write_records(tmp_path / "public.jsonl", 12, seed=9)
    out = tmp_path / "start.safetensors"
    command = [str(tmp_path / "run.toml"), "--set", "adapter.layers=[1]", "--out", str(out)]
    assert program.main([*command, "--data", str(tmp_path / "site0.jsonl")]) == 2  # what a site trains on
    assert not out.exists()
    assert program.main([*command, "--data", str(tmp_path / "public.jsonl")]) == 0
    overrides = ["adapter.layers=[1]", 'adapter.start="file"', 'adapter.start_file="start.safetensors"']
    result = run_tiny_federation(tmp_path, rounds=1, num_records=16, overrides=overrides)
    assert result["rounds_completed"] == 1


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (['adapter.start="file"'], r"adapter\.start_file: missing"),
        (['adapter.start_file="x"'], r"adapter\.start_file = .*: has no use"),
        (['adapter.start="weight"', 'adapter.kind="lora-xs"'], r'adapter\.start = "weight": has no use'),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path: Path, overrides: list[str], told: str) -> None:
    tiny_config(tmp_path)
    with pytest.raises(ConfigError, match=told):
        load_config(tmp_path / "run.toml", overrides)


def test_a_file_that_does_not_say_it_is_public_is_refused(tmp_path: Path) -> None:
    """Its rows leave with the adapter: of private records they would be a release without noise."""
    path = tmp_path / "start.safetensors"
    for said in ({}, {"public": "true"}, {"public": "false", "source": "a site's records"}):
        save_file({"x": torch.eye(2)}, path, metadata={"format": "pt", **said})
        with pytest.raises(ConfigError, match="does not say that it was made from public records"):
            Adapter(tiny_backbone().model, AdapterSettings(start="file", start_file=path))


def test_synthetic_rows_are_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """What they cost would be missing from the sentence of the run that takes the file."""
    tiny_config(tmp_path)
    rows = SimpleNamespace(rows=SimpleNamespace(facts={"source": "synthetic"}, records=()))
    monkeypatch.setattr(program, "rows_to_play_on", lambda _config, _path: rows)
    out = tmp_path / "start.safetensors"
    assert program.main([str(tmp_path / "run.toml"), "--data", "made", "--out", str(out)]) == 2
    assert "is synthetic; take public records" in capsys.readouterr().err
    assert not out.exists()
