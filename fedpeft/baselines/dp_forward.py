# SPDX-License-Identifier: Apache-2.0
"""DP-Forward: each input's states at the entrance of the lowest trained block, noised once and kept.

Du et al. 2023, arXiv 2309.06746, with three things set right. The noise is that of a sensitivity of 2 C,
since any two clipped matrices may be that far apart. A state is released once and trained on as often as one
likes; drawn anew in every epoch it would be paid for in each. And every matrix has as many rows, so that
its size tells nothing: prompts are filled up on the left with the padding token. What comes after is
post-processing as far as inputs go. Responses are trained on as they are: this protects no unit, and its
epsilon is no other method's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedpeft.data.prompts import Example
from fedpeft.errors import FedpeftError
from fedpeft.input_noise import InputNoise, input_noise, needs_a_prefix
from fedpeft.privacy.noise import standard_normal
from fedpeft.privacy.randomness import Randomness
from fedpeft.training.batches import to_tensors
from fedpeft.training.local import Units
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from fedpeft.workspace import Workspace

_AT_ONCE = 16


def noise_inputs(workspace: Workspace) -> None:
    """Replace the workspace's training examples by ones of one length, whose states are fixed and noised.

    Afterwards no gradient that the workspace computes depends on a clean state.

    Raises:
        ConfigError: block 0 is trained.
        FedpeftError: a state could not be kept.
    """
    config, adapter = workspace.config, workspace.adapter
    block, noise = needs_a_prefix(adapter.layout), input_noise(config)
    length, fill = config.data.max_length, _filling(workspace)
    for name, data in workspace.data.items():
        units = {unit: tuple(_filled(e, length, fill) for e in own) for unit, own in data.units.items()}
        workspace.data[name] = replace(data, units=units)
    # Runs that share kept states compute the clean ones of an input once; the noise is each run's own.
    clean = workspace.prefix or PrefixCache(workspace.model, block, StateStore(0))
    kept: dict[bytes, Tensor] = {}
    for name, data in workspace.data.items():
        randomness = _randomness(config.run.seed, name)
        kept |= _noised(workspace, clean, data.units, noise, randomness)
    size = sum(state.numel() * state.element_size() + 64 for state in kept.values())
    store = StateStore(2 * size + (64 << 20))
    for key, state in kept.items():
        store.put(key, state)
    if len(store) != len(kept):  # what is missing would be computed again, without noise
        raise FedpeftError("dp-forward: not every noised state could be kept; free memory and run it again")
    workspace.execution = replace(workspace.execution, prefix=clean.fed_with(store, _key))


def clip_and_noise(states: Tensor, noise: InputNoise, random: Randomness, *names: object) -> Tensor:
    """One input's ``(T, hidden)`` states, clipped to Frobenius norm C, plus noise in float64.

    Args:
        states: finite or not; what is not finite counts as zero.
        noise: of the run.
        random: of the site.
        names: of the input; the same never twice.
    """
    exact = torch.nan_to_num(states.double().cpu(), 0.0, 0.0, 0.0)
    clipped = exact * min(1.0, noise.clip_norm / max(float(exact.norm()), 1e-300))
    drawn = standard_normal(random.stream("input", *names), exact.numel()).reshape(tuple(exact.shape))
    return (clipped + noise.stddev * torch.from_numpy(np.ascontiguousarray(drawn))).to(states.dtype)


def _noised(
    workspace: Workspace, clean: PrefixCache, units: Units, noise: InputNoise, randomness: Randomness
) -> dict[bytes, Tensor]:
    """The released states of a site, by its examples."""
    found: dict[bytes, Tensor] = {}
    for group in _groups(units):
        examples = [example for _, _, example in group]
        ids = to_tensors(examples, workspace.backbone.device).input_ids
        for (unit, place, example), states in zip(group, clean.states(examples, ids), strict=True):
            found[_key(example)] = clip_and_noise(states, noise, randomness, unit, place)
    return found


def _groups(units: Mapping[str, tuple[Example, ...]]) -> Iterator[list[tuple[str, int, Example]]]:
    group: list[tuple[str, int, Example]] = []
    for unit, examples in units.items():
        for place, example in enumerate(examples):
            group.append((unit, place, example))
            if len(group) == _AT_ONCE:
                yield group
                group = []
    if group:
        yield group


def _filled(example: Example, length: int, token: int) -> Example:
    """The same, its prompt filled up on the left to ``length`` tokens in all."""
    missing = length - example.ids.size
    ids = np.concatenate([np.full(missing, token, dtype=np.int32), example.ids])
    return Example(ids, example.num_prompt + missing, example.truncated)


def _filling(workspace: Workspace) -> int:
    tokenizer = workspace.backbone.tokenizer
    token = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if token is None else token)


def _key(example: Example) -> bytes:
    """Of this very example: equal ones are noised apart, or their equality would show."""
    return id(example).to_bytes(8, "little")


def _randomness(seed: int | None, name: str) -> Randomness:
    return Randomness.fresh() if seed is None else Randomness.seeded(seed, "dp-forward", name)
