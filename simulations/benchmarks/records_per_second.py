# SPDX-License-Identifier: Apache-2.0
"""Records a second on MedQuAD's lengths (cut at 256), ours against opacus with its batch memory manager.

SmolLM2, r = 8 on all linears, one logical batch of 256. Micro-batches of the same memory: 2,048 padded tokens
of ours, 8 records of up to 256 tokens for opacus (hooks), in the order they come. Either takes minutes, so
there is one pair and no interval. What can be gained is the padding of the order of arrival, 28 %
(`padding`), times a step (`opacus_step`): about 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch.utils.data import DataLoader

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients
from simulations.benchmarks.shared.lengths import MAX_LENGTH, draw, examples_of
from simulations.benchmarks.shared.measure import interleaved, medians, ratio
from simulations.benchmarks.shared.opacus_peer import OpacusTrainer
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import LEARNING_RATE, Step, Task, peft_lora, standard_task

PAIRS, LOGICAL_BATCH, PHYSICAL_BATCH = 1, 256, 8
BAR = 1.5


def run(quick: bool = False) -> dict[str, object]:
    """Ratio of times and records a second."""
    task = standard_task(quick)
    size = PHYSICAL_BATCH + 2 if quick else LOGICAL_BATCH
    records = examples_of(draw("medquad", size, seed=0), len(task.backbone.tokenizer))
    # A warm-up would double the time; both have their memory from their first micro-batches.
    steps = {"ours": _ours(task, records), "opacus": _opacus(task, records)}
    times = interleaved(steps, PAIRS, warm_up=False)
    seconds = medians(times)
    return {
        "logical_batch": size,
        "tokens": sum(e.ids.size for e in records),
        "theirs_to_ours": ratio(times, "opacus", "ours"),
        "records_per_second": {name: size / s for name, s in seconds.items()},
        "times": times,
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    found, rates = result["theirs_to_ours"], result["records_per_second"]
    return [
        Row(
            f"records/s on MedQuAD's lengths (cut at 256), logical batch {result['logical_batch']}",
            "opacus with its batch memory manager, same micro-batch memory",
            f">= {BAR}",
            f"{with_interval(found)}; {rates['ours']:.2f} against {rates['opacus']:.2f} records/s",
            found["wall"] >= BAR,
        )
    ]


def _ours(task: Task, records: Sequence[Example]) -> Step:
    model = task.model()
    adapter = Adapter(model, AdapterSettings(rank=task.rank))
    adapter.load(adapter.zeros())

    def step() -> None:
        mechanism = PoissonGaussianSum(
            adapter.layout,
            scales=(1.0,) * len(adapter.layout.segments),
            clipping="automatic",
            noise_multiplier=1.0,
            sampling_rate=0.1,
            expected_batch=float(len(records)),
            unit="record",
        )
        for batch in plan_batches([(e,) for e in records], PHYSICAL_BATCH * MAX_LENGTH):
            mechanism.add(unit_gradients(model, adapter, batch))
        released = mechanism.release(Randomness.fresh().stream("noise"))
        adapter.load((-LEARNING_RATE * released.value).astype(np.float32))

    return step


def _opacus(task: Task, records: Sequence[Example]) -> Step:
    trainer = OpacusTrainer(
        peft_lora(task.model(), task.rank),
        "hooks",
        learning_rate=LEARNING_RATE,
        expected_batch=len(records),
    )
    logical: list[list[int]] = [list(range(len(records)))]
    loader: DataLoader[Any] = DataLoader(list(records), batch_sampler=logical, collate_fn=list)  # type: ignore[arg-type]

    def step() -> None:
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=PHYSICAL_BATCH, optimizer=trainer.optimizer
        ) as micro_batches:
            for examples in micro_batches:
                trainer.step(examples, task.backbone.device)

    return step
