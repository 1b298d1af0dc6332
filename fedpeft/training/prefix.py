# SPDX-License-Identifier: Apache-2.0
"""The frozen prefix: what enters the lowest trained block never changes, so it is computed once a record.

The blocks below are replaced by modules that pass the kept states on, so that everything else of the
backbone's own forward pass - masks, positions, soft-caps - happens as before, whatever the architecture.
Kept states are private: they stay in this process's memory, or in a file without a name that the operating
system removes with the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fedpeft.adapters.targets import find_blocks
from fedpeft.data.prompts import Example
from fedpeft.training.state_store import StateStore


class PrefixCache:
    """States at the entrance of one block, kept as they are first needed.

    It belongs to one frozen backbone, one block and one arithmetic; adapters below ``block`` would make it
    stale.
    """

    def __init__(
        self,
        model: nn.Module,
        block: int,
        store: StateStore,
        below: PrefixCache | None = None,
    ) -> None:
        """Prepare; computes nothing.

        Args:
            model: the frozen backbone, an adapter attached or not.
            block: index of the lowest trained block, at least 1.
            store: where states are kept; what does not fit is computed each time.
            below: of a lower block, from whose states those of this one are computed; default: from tokens.

        Raises:
            ValueError: block 0, below which there is nothing to keep, or a cache below that is not below.
        """
        if block < 1:
            raise ValueError(f"block: {block}, must be at least 1: nothing lies below block 0")
        if below is not None and below.block >= block:
            raise ValueError(f"below: a cache of block {below.block}, must be of a block below {block}")
        self.block: int = block
        self._model = model
        self._store = store
        self._below = below
        self._key_of: Callable[[Example], bytes] = _key
        self._gives_tuple: bool | None = None

    def forget_below(self) -> None:
        """Compute what is still missing from tokens, and let the states below go."""
        self._below = None

    def fed_with(self, store: StateStore, key_of: Callable[[Example], bytes]) -> PrefixCache:
        """The same entrance fed with other states, made before; this one must have computed some.

        Args:
            store: holds a state for every example that will come.
            key_of: an example, in that store.
        """
        other = PrefixCache(self._model, self.block, store)
        other._key_of, other._gives_tuple = key_of, self._gives_tuple
        return other

    def sharing(self, limit_bytes: int) -> PrefixCache:
        """The same states, of which it keeps at most ``limit_bytes`` more."""
        other = PrefixCache(self._model, self.block, self._store.share(limit_bytes), self._below)
        other._gives_tuple = self._gives_tuple
        return other

    @property
    def num_kept(self) -> int:
        """Examples whose states are kept."""
        return len(self._store)

    @contextmanager
    def feeding(self, examples: Sequence[Example], input_ids: Tensor) -> Iterator[None]:
        """Within the context a forward pass on ``input_ids`` begins at the block, with the kept states.

        Args:
            examples: the rows of ``input_ids``, in order.
            input_ids: ``(n, T)``, padded on the right.
        """
        states = self.states(examples, input_ids)
        _, blocks = find_blocks(self._model)
        below = list(blocks[: self.block])
        try:
            for index, original in enumerate(below):
                blocks[index] = _Passing(original, states, bool(self._gives_tuple))
            yield
        finally:
            for index, original in enumerate(below):
                blocks[index] = original

    def states(self, examples: Sequence[Example], input_ids: Tensor) -> Tensor:
        """``(n, T, hidden)``; zero on padding, which no real token sees. Arguments as for ``feeding``."""
        keys = [self._key_of(example) for example in examples]
        kept = [self._store.get(key) for key in keys]
        missing = [i for i, state in enumerate(kept) if state is None]
        fresh = self._compute([examples[i] for i in missing], input_ids[missing]) if missing else None
        if self._gives_tuple is None:  # another cache filled the store; what blocks return is still unknown
            self._compute(examples[:1], input_ids[:1])
        if fresh is not None:
            for row, i in enumerate(missing):
                self._store.put(keys[i], fresh[row, : examples[i].ids.size])
        if fresh is not None and len(missing) == len(examples):
            return fresh
        like = fresh if fresh is not None else next(state for state in kept if state is not None)
        on_host = torch.zeros(
            (*input_ids.shape, like.shape[-1]), dtype=like.dtype, pin_memory=input_ids.is_cuda
        )
        for i, state in enumerate(kept):
            if state is not None:
                on_host[i, : state.shape[0]] = state
        states = on_host.to(input_ids.device, non_blocking=True)
        if fresh is not None:
            states[missing] = fresh
        return states

    @torch.no_grad()
    def _compute(self, examples: Sequence[Example], input_ids: Tensor) -> Tensor:
        _, blocks = find_blocks(self._model)
        # The block just below is one that runs, whatever passes on the states of those further down.
        last = blocks[self.block - 1].register_forward_hook(self._see_kind)
        entrance = blocks[self.block].register_forward_pre_hook(_stop, with_kwargs=True)
        try:
            with feeding(self._below, examples, input_ids):
                self._model(input_ids=input_ids, use_cache=False)
        except _EntranceReached as reached:
            return reached.states
        finally:
            last.remove()
            entrance.remove()
        raise RuntimeError(f"block {self.block} was never entered")

    def _see_kind(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._gives_tuple = isinstance(output, tuple)


class _EntranceReached(Exception):  # noqa: N818 - no error: it ends a pass early
    """The states that would have entered the block."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    raise _EntranceReached(inputs[0] if inputs else named["hidden_states"])


class _Passing(nn.Module):
    """Stands for a block whose output is not needed; anything else is asked of the block itself."""

    def __init__(self, original: nn.Module, states: Tensor, gives_tuple: bool) -> None:
        super().__init__()
        object.__setattr__(self, "_original", original)  # not a submodule: hooks and names stay as they are
        object.__setattr__(self, "_output", (states,) if gives_tuple else states)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_original"), name)

    def forward(self, *_inputs: Any, **_named: Any) -> Any:
        return object.__getattribute__(self, "_output")


def _key(example: Example) -> bytes:
    return hashlib.blake2b(example.ids.tobytes(), digest_size=16).digest()


def feeding(cache: PrefixCache | None, examples: Sequence[Example], input_ids: Tensor) -> Any:
    """``cache.feeding``, or a context in which nothing happens."""
    return nullcontext() if cache is None else cache.feeding(examples, input_ids)
