# SPDX-License-Identifier: Apache-2.0
"""Kept states of the frozen blocks: the same gradients, without running those blocks again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.targets import find_blocks
from fedpeft.settings import AdapterSettings
from fedpeft.testing import TINY_KINDS, dummy_examples, float64_models, tiny_backbone
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore

PLENTY = 1 << 28
DECODERS = [kind for kind in TINY_KINDS if kind != "mixtral"]


def make_adapter(kind: str = "llama", dtype: torch.dtype = torch.float32) -> Adapter:
    adapter = Adapter(
        tiny_backbone(kind, dtype=dtype, num_blocks=3).model, AdapterSettings(rank=2, layers=[-1])
    )
    values = 0.1 * np.random.default_rng(1).standard_normal(adapter.layout.size).astype(np.float32)
    adapter.load(values)
    return adapter


def gradients(adapter: Adapter, examples: list, how: Execution) -> torch.Tensor:
    batches = plan_batches([(example,) for example in examples], 60)
    parts = [unit_gradients(adapter.model, adapter, batch, how) for batch in batches]
    return torch.cat([torch.cat([g.flatten(1) for g in part], 1) for part in parts])


def with_cache(adapter: Adapter, limit: int = PLENTY) -> Execution:
    return Execution(prefix=PrefixCache(adapter.model, 2, StateStore(limit)))


@contextmanager
def counting(adapter: Adapter) -> Iterator[list[int]]:
    """Numbers of the blocks that run."""
    ran: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_args, i=i: ran.append(i))
        for i, block in enumerate(find_blocks(adapter.model)[1])
    ]
    yield ran
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("kind", DECODERS)
def test_same_gradients_on_every_visit(kind: str) -> None:
    examples = dummy_examples([9, 14, 5, 21, 8, 30], 300)
    with float64_models():
        adapter = make_adapter(kind, torch.float64)
        plain, how = gradients(adapter, examples, PLAIN), with_cache(adapter)
        for _visit in range(3):
            assert torch.allclose(gradients(adapter, examples, how), plain, rtol=1e-10, atol=1e-14)


def test_some_kept_and_some_new_in_one_batch() -> None:
    adapter = make_adapter()
    examples = dummy_examples([9, 10, 11, 12], 300)
    how = with_cache(adapter)
    gradients(adapter, examples[1:3], how)
    assert torch.allclose(
        gradients(adapter, examples, how), gradients(adapter, examples, PLAIN), rtol=1e-4, atol=1e-6
    )


def test_a_second_visit_runs_the_trained_block_alone() -> None:
    adapter = make_adapter()
    examples, how = dummy_examples([9, 10], 300), with_cache(adapter)
    gradients(adapter, dummy_examples([3], 300), PLAIN)  # what is found out once a model is known
    with counting(adapter) as ran:
        gradients(adapter, examples, how)
        first, ran[:] = list(ran), []
        gradients(adapter, examples, how)
    assert first == [0, 1, 2]  # the pass that fills the cache stops at the entrance of block 2
    assert ran == [2]


def test_another_text_is_another_record() -> None:
    adapter, how_many = make_adapter(), 4
    how = with_cache(adapter)
    one, other = dummy_examples([12] * how_many, 300, 1), dummy_examples([12] * how_many, 300, 2)
    gradients(adapter, one, how)
    assert torch.allclose(
        gradients(adapter, other, how), gradients(adapter, other, PLAIN), rtol=1e-4, atol=1e-6
    )


def test_a_store_that_another_cache_filled_does_not_hide_what_blocks_return() -> None:
    """Older backbones have blocks that return tuples; a stand-in for one must do likewise."""
    adapter, store, examples = make_adapter(), StateStore(PLENTY), dummy_examples((9, 7), 300)
    expected = gradients(adapter, examples, PLAIN)
    for ran_below in (2, 2):
        cache = PrefixCache(adapter.model, 2, store)
        with counting(adapter) as ran:
            found = gradients(adapter, examples, Execution(prefix=cache))
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert (
            len([block for block in ran if block < 2]) >= ran_below
        )  # the second looks once, at one example


def test_what_does_not_fit_is_computed_each_time() -> None:
    adapter = make_adapter()
    examples = dummy_examples([30] * 40, 300)
    how = with_cache(adapter, limit=4096 * 20)  # room for some of 40 states of 3,840 bytes
    for _visit in range(2):
        assert torch.allclose(
            gradients(adapter, examples, how), gradients(adapter, examples, PLAIN), rtol=1e-4, atol=1e-6
        )
    assert how.prefix is not None
    assert 0 < how.prefix.num_kept < 40


def test_the_backbone_is_whole_again_afterwards() -> None:
    adapter = make_adapter()
    blocks = list(find_blocks(adapter.model)[1])
    how = with_cache(adapter)
    with (
        pytest.raises(ZeroDivisionError),
        how.prefix.feeding(dummy_examples([9], 300), torch.ones(1, 9).long()),
    ):
        raise ZeroDivisionError
    assert list(find_blocks(adapter.model)[1]) == blocks
    assert not any(block._forward_pre_hooks or block._forward_hooks for block in blocks)


def test_nothing_lies_below_the_first_block() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PrefixCache(tiny_backbone().model, 0, StateStore(PLENTY))
