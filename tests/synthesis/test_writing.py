# SPDX-License-Identifier: Apache-2.0
"""The backbone as a writer: draws as its probabilities say, ends where a text ends, and says if it cannot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.base import Backbone
from fedpeft.errors import BackboneError, DataError
from fedpeft.settings import AdapterSettings, DataSettings
from fedpeft.synthesis import writing
from fedpeft.synthesis.writing import Writer, sample
from fedpeft.testing import tiny_backbone


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture
def adapter(backbone: Backbone) -> Iterator[Adapter]:
    made = Adapter(backbone.model, AdapterSettings(rank=2))
    made.load(made.zeros())
    yield made
    made.detach()


def writer(adapter: Adapter, backbone: Backbone, folder: Path) -> Writer:
    data = DataSettings(source="jsonl", max_length=64)
    return Writer(adapter, backbone.tokenizer, data, threading.Lock(), folder)


def drawn(adapter: Adapter, count: int, room: int, end: frozenset[int] = frozenset(), seed: int = 0):
    return sample(adapter, [5, 6, 7], count, room, end, torch.Generator().manual_seed(seed))


def test_first_tokens_come_as_often_as_the_model_says(adapter: Adapter) -> None:
    with torch.no_grad():
        wanted = adapter.model(torch.tensor([[5, 6, 7]])).logits[0, -1].softmax(-1).numpy()
    tokens = [row[0] for row in drawn(adapter, 4000, 1)]
    found = np.bincount(tokens, minlength=len(wanted)) / len(tokens)
    assert np.abs(found - wanted).max() < 0.03
    assert np.abs(found - np.roll(wanted, 1)).max() > 0.03  # the test can fail


def test_later_tokens_depend_on_what_was_written(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of earlier tokens is what a pass over all of them would find."""
    monkeypatch.setattr(torch, "multinomial", lambda p, _n, **_: p.argmax(-1, keepdim=True))
    (row,) = drawn(adapter, 1, 6)
    ids = [5, 6, 7]
    for token in row:
        with torch.no_grad():
            logits = adapter.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        assert int(logits.argmax()) == token
        ids.append(token)


def test_a_text_ends_before_its_last_token(adapter: Adapter) -> None:
    whole = drawn(adapter, 8, 12, seed=3)
    end = frozenset({whole[0][4], whole[1][0]})
    cut = drawn(adapter, 8, 12, end, seed=3)
    for long, short in zip(whole, cut, strict=True):
        first = next((i for i, token in enumerate(long) if token in end), len(long))
        assert short == long[:first]
    assert cut[1] == []


def test_the_seed_decides(adapter: Adapter) -> None:
    assert drawn(adapter, 3, 5, seed=1) == drawn(adapter, 3, 5, seed=1) != drawn(adapter, 3, 5, seed=2)


def test_rows_are_pairs_that_differ_tasks_in_equal_parts(
    adapter: Adapter, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def write(self: Writer, vector: object, task: str, count: int, seed: int) -> list[str]:
        asked.append((task, count))
        good = [f"Question: {task} {seed} {i}\nAnswer: yes" for i in range(count)]
        again = f"Question: {task}  {seed} 0\nAnswer: YES"
        return [*good[:-1], again if count > 1 else good[0]]

    monkeypatch.setattr(Writer, "write", write)
    made = writer(adapter, backbone, tmp_path)
    rows = made.rows(adapter.zeros(), ("sea", "hill"), 7, 0, "generator")
    assert [row.task for row in rows] == ["sea"] * 4 + ["hill"] * 3
    assert len({row.lineage for row in rows}) == len({row.id for row in rows}) == 7
    assert asked[0] == ("sea", 4)
    assert asked[1] == ("sea", 1)  # one of the four was there already
    monkeypatch.setattr(Writer, "write", lambda *_: pytest.fail("written twice"))
    assert made.rows(adapter.zeros(), ("sea", "hill"), 7, 0, "generator") == rows


def test_a_backbone_that_writes_no_pair_is_not_asked_for_ever(
    adapter: Adapter, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(Writer, "write", lambda _s, _v, _t, count, _n: counts.append(count) or ["no"] * count)
    assert writer(adapter, backbone, tmp_path).rows(adapter.zeros(), (), 5, 0, "x") == ()
    assert sum(counts) == writing._MOST_TIMES * 5


def test_damaged_rows_are_told(adapter: Adapter, backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "generator.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1 is no row"):
        writer(adapter, backbone, tmp_path).rows(adapter.zeros(), (), 5, 0, "generator")


def test_a_sound_backbone_passes(adapter: Adapter, backbone: Backbone, tmp_path: Path) -> None:
    writer(adapter, backbone, tmp_path).check()


def test_a_backbone_of_nonsense_is_told(adapter: Adapter, backbone: Backbone, tmp_path: Path) -> None:
    with torch.no_grad():
        backbone.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(BackboneError, match=r"cannot write texts .its figures are not finite.*pool"):
        writer(adapter, backbone, tmp_path).check()


def test_a_backbone_without_an_end_is_told(adapter: Adapter, backbone: Backbone, tmp_path: Path) -> None:
    backbone.tokenizer.eos_token = None
    with pytest.raises(BackboneError, match="no token that ends a text"):
        writer(adapter, backbone, tmp_path).check()


def test_a_backbone_that_cannot_go_on_is_told(
    adapter: Adapter, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(input_ids: object) -> None: ...

    monkeypatch.setattr(adapter.model, "forward", forward)
    with pytest.raises(BackboneError, match="does not go on"):
        writer(adapter, backbone, tmp_path).check()
