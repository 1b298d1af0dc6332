# SPDX-License-Identifier: Apache-2.0
"""Every benchmark runs on tiny settings, peers compute what they should, the table reads the results."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedpeft.testing import dummy_examples, tiny_backbone
from fedpeft.training.gradients import example_losses
from simulations.benchmarks.shared import table
from simulations.benchmarks.shared.arithmetic import needed_operations
from simulations.benchmarks.shared.measure import median_interval, ratio, slope
from simulations.benchmarks.shared.memory import run_measured
from simulations.benchmarks.shared.opacus_peer import MODES, OpacusTrainer
from simulations.benchmarks.shared.rows import Row, inverse
from simulations.benchmarks.shared.steps import Task, peft_lora, standard_task

IN_PROCESS = (
    "aggregation",
    "arithmetic",
    "composition",
    "opacus_step",
    "padding",
    "prefix_cache",
    "private_step",
    "profile",
)
IN_PROCESS += ("records_per_second", "rounding", "selection", "utilization")
WITH_PROCESSES = ("step_memory", "two_runs")


@pytest.mark.parametrize("name", IN_PROCESS + WITH_PROCESSES)
def test_a_benchmark_runs_on_tiny_settings_and_fills_its_rows(name: str, monkeypatch) -> None:
    module = importlib.import_module(f"simulations.benchmarks.{name}")
    result = module.run(quick=True)
    if name != "step_memory":  # its quick result has two contenders only
        rows = module.rows(result)
        assert rows
        assert all(isinstance(row, Row) and row.measure and row.figure for row in rows)


def test_the_command_prints_one_json_document_and_keeps_no_quick_figures() -> None:
    command = [sys.executable, "-m", "simulations.benchmarks", "padding", "--quick"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert '"benchmark": "padding"' in done.stdout
    refused = subprocess.run([*command, "--save"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--quick" in refused.stderr


def _lora(task: Task) -> tuple[nn.Module, list[nn.Parameter]]:
    torch.manual_seed(1)
    model = peft_lora(task.model(), 2)
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:  # B is zero at first, and then A has no gradient
        nn.init.normal_(parameter, std=0.1)
    return model, trained


@pytest.mark.parametrize("mode", MODES)
def test_opacus_is_used_so_that_it_clips_the_gradient_of_each_sequence(mode: str) -> None:
    backbone = tiny_backbone()
    examples = dummy_examples([9, 14, 11], len(backbone.tokenizer))
    task = Task(backbone, examples, rank=2)
    model, trained = _lora(task)
    expected = [torch.zeros_like(p) for p in trained]
    for example in examples:
        gradients = torch.autograd.grad(example_losses(model, [example], backbone.device).sum(), trained)
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        for total, gradient in zip(expected, gradients, strict=True):
            total += gradient * min(1.0, float(1 / norm))
    model, trained = _lora(task)
    before = [p.detach().clone() for p in trained]
    trainer = OpacusTrainer(model, mode, learning_rate=3.0, expected_batch=3, noise_multiplier=0.0)
    trainer.step(examples, backbone.device)
    moved = [b - p.detach() for b, p in zip(before, trained, strict=True)]
    for found, wanted in zip(moved, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
    assert max(float(w.abs().max()) for w in expected) > 0.01


def test_steps_share_the_frozen_weights_and_leave_the_backbone_alone() -> None:
    task = standard_task(quick=True)
    copied = task.model()
    assert copied is not task.backbone.model
    originals = {p.data_ptr() for p in task.backbone.model.parameters()}
    assert {p.data_ptr() for p in copied.parameters()} == originals
    peft_lora(copied, 2)
    assert not any("lora" in name for name, _ in task.backbone.model.named_parameters())


def test_memory_counts_every_process_of_the_tree() -> None:
    def peak(megabytes: int) -> float:
        inner = f"import time; x = bytearray({megabytes} << 20); time.sleep(1)"
        call = f"subprocess.run([sys.executable, '-c', {inner!r}], start_new_session=True)"
        outer = f"import subprocess, sys; {call}"
        usage = run_measured([sys.executable, "-c", outer])
        assert usage.processes == 2
        return usage.peak_mb

    assert 90 < peak(101) - peak(1) < 120


def test_what_a_command_leaves_behind_is_ended() -> None:
    call = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    usage = run_measured(
        [sys.executable, "-c", f"import subprocess, sys, time; print({call}.pid); time.sleep(1)"]
    )
    deadline = time.monotonic() + 10
    while Path(f"/proc/{int(usage.stdout)}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{int(usage.stdout)}/exe").exists()


def test_a_failing_command_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="gone wrong"):
        run_measured([sys.executable, "-c", "raise SystemExit('gone wrong')"])


def test_operations_are_those_of_the_formula() -> None:
    backbone = tiny_backbone()  # 2 blocks, hidden 32, 4 heads of 8, 2 key-value heads, 64 inside
    matrices = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64
    (example,) = dummy_examples([10], 300)  # 5 of them response
    head = 4 * backbone.model.config.vocab_size * 32 * 5
    attention = 2 * 10 * 10 * 32
    both = needed_operations(backbone.model, [example], lowest_trained=0)
    assert both == 2 * (4 * matrices * 10 + 3 * attention) + head
    upper = needed_operations(backbone.model, [example], lowest_trained=1)
    assert upper == 6 * matrices * 10 + 4 * attention + head


def test_statistics() -> None:
    times = {
        "a": [{"wall": 2.0, "cpu": 4.0}, {"wall": 3.0, "cpu": 4.0}, {"wall": 9.0, "cpu": 4.0}],
        "b": [{"wall": 1.0, "cpu": 2.0}] * 3,
    }
    found = ratio(times, "a", "b")
    assert (found["wall"], found["cpu"], found["pairs"]) == (3.0, 2.0, 3)
    assert (found["wall_low"], found["wall_high"]) == (2.0, 9.0)
    assert inverse(found)["wall_low"] == pytest.approx(1 / 9)
    assert median_interval(np.ones(5)) == (1.0, 1.0, 1.0)
    assert slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_the_committed_table_is_that_of_the_committed_results(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(table, "TABLE_FILE", tmp_path / "README.md")
    committed = (table._HERE / "README.md").read_text(encoding="utf-8")
    table.write_table()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == committed


def test_every_benchmark_is_in_the_table() -> None:
    committed = (table._HERE / "README.md").read_text(encoding="utf-8")
    assert all(f"## {name}\n" in committed for name in table.names())
