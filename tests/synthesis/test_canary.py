# SPDX-License-Identifier: Apache-2.0
"""What one record says is not written by the generator; without the noise it is, word for word.

Both arms are the same rounds of one site, from its records to the texts: pairs, clipping, sampling, steps and
learning rate, and the multiplier that ``fedpeft plan`` finds for the epsilon. Only the numbers that noise is
made of are zeros in the control. The rounds around these pieces are tried in ``tests/e2e/test_generator.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.base import Backbone
from fedpeft.data.pairs import control, pair_prompter
from fedpeft.data.prompts import Prompter
from fedpeft.data.records import Record
from fedpeft.data.site_data import encode_site
from fedpeft.privacy.arithmetic import float as float_arithmetic
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings, DataSettings, PrivacySettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.budget import steps_of
from fedpeft.synthesis.writing import Writer, sample
from fedpeft.testing import tiny_backbone
from fedpeft.training.local import LocalPlan, Units, local_update

CANARY = "qzxvk"
KNOWN = "Question: Name it.\nAnswer:"
"""Of the record, to whoever looks for the rest."""
RUNS, CONTROLS = 20, 5
STEPS, TEXTS = 40, 32
EPSILON, DELTA = 8.0, 1e-5
DATA = DataSettings(source="jsonl", max_length=64, held_out=0.0)
SETTINGS = SynthesisSettings(generator="generator", rounds=1, epsilon_share=0.999)


@dataclass(frozen=True)
class Bench:
    """A backbone that is large enough to learn a few words by heart, and one site's records as pairs."""

    backbone: Backbone
    adapter: Adapter
    units: Units
    folder: Path

    def texts(self, seed: int) -> list[str]:
        """What the backbone writes after one round, in a run of its own: as the generator does, and going on
        from what is known of the record.
        """
        ((multiplier, steps),) = steps_of(SETTINGS, EPSILON, DELTA, 1.0, STEPS)
        plan = LocalPlan(
            local_steps=steps,
            learning_rate=6.0,
            noise_multiplier=multiplier,
            sampling_rate=1.0,
            scales=(1.0,) * len(self.adapter.layout.segments),
            clipping="flat",
            expected_batch=float(len(self.units)),
            unit="record",
            max_tokens=4096,
        )
        zeros = self.adapter.zeros()
        randomness = Randomness.seeded(seed, "canary")
        moved = local_update(self.backbone.model, self.adapter, self.units, zeros, plan, randomness).value
        tokenizer = self.backbone.tokenizer
        writer = Writer(self.adapter, tokenizer, DATA, threading.Lock(), self.folder)
        ids = pair_prompter(tokenizer, DATA).prompt_ids(control(""))
        ids += tokenizer.encode(KNOWN, add_special_tokens=False)
        written = writer.write(moved, "", TEXTS, seed)
        random = torch.Generator().manual_seed(seed)
        going_on = sample(self.adapter, ids, TEXTS, 12, frozenset(), random)
        return [*written, *map(tokenizer.decode, going_on)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    backbone = tiny_backbone(num_blocks=1, hidden=64)
    settings = AdapterSettings(rank=32, modules=("v_proj", "o_proj", "up_proj", "down_proj"))
    adapter = Adapter(backbone.model, settings)
    answers = ("It is red.", "It is low.", "It is tea.", CANARY)
    records = [Record(f"{i}", f"{i}", "Name it.", answer, "") for i, answer in enumerate(answers)]
    prompter = Prompter.of(backbone.tokenizer, DATA)
    site = encode_site("here", records, DATA, PrivacySettings(), prompter)
    units = site.pairs(pair_prompter(backbone.tokenizer, DATA), ())
    yield Bench(backbone, adapter, units, tmp_path_factory.mktemp("canary"))
    adapter.detach()


def test_a_canary_is_written_without_the_noise_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(float_arithmetic, "standard_normal", lambda _stream, size: np.zeros(size))
        for seed in range(CONTROLS):
            written, going_on = np.split(np.array([CANARY in text for text in bench.texts(seed)]), 2)
            assert written.any()
            assert going_on.any()
    for seed in range(RUNS):
        texts = bench.texts(seed)
        assert len(texts) == 2 * TEXTS
        assert not any(CANARY in text for text in texts)
