# SPDX-License-Identifier: Apache-2.0
"""Which linear modules of a backbone are trained, and where each lies in the flat vector."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from fedpeft.adapters.base import AdapterKind, residual_shapes
from fedpeft.adapters.frozen import features, is_linear
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.types import Layout, Segment


@dataclass(frozen=True, slots=True)
class Target:
    """A linear module to train.

    Attributes:
        path: its full name in the backbone.
        block: index of its transformer block.
        module: its path inside the block.
    """

    path: str
    block: int
    module: str
    out_features: int
    in_features: int


def find_targets(model: nn.Module, settings: AdapterSettings) -> tuple[Target, ...]:
    """The modules that ``settings`` name, in the order of the backbone.

    Works on a model whose weights are on the meta device too.

    Raises:
        BackboneError: blocks that do not exist, names that match nothing, mixture experts.
    """
    prefix, blocks = find_blocks(model)
    chosen = _chosen_blocks(settings, len(blocks))
    linears = [target for index in chosen for target in _linears(f"{prefix}.{index}", index, blocks[index])]
    if settings.modules == "all-linear":
        for index in chosen:  # the first blocks of some mixtures are dense
            _refuse_experts(f"{prefix}.{index}", blocks[index])
        return tuple(linears)
    names = sorted({target.module for target in linears})
    for wanted in settings.modules:
        if not any(_matches(wanted, name) for name in names):
            near = difflib.get_close_matches(wanted, [name.rsplit(".", 1)[-1] for name in names], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BackboneError(
                f"adapter.modules: {wanted!r} matches no linear module; there are {', '.join(names)}{hint}"
            )
    wanted_names = settings.modules
    return tuple(t for t in linears if any(_matches(wanted, t.module) for wanted in wanted_names))


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of transformer blocks and its path: the one whose length the configuration states.

    Raises:
        BackboneError: there is none.
    """
    config = model.config
    num_blocks = getattr(config, "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_blocks:
            return name, module
    raise BackboneError(
        f"model.backbone: {type(model).__name__} has no list of {num_blocks} blocks; "
        "use a decoder-only transformer of the transformers library"
    )


def layout_of(targets: tuple[Target, ...], kind: AdapterKind, rank: int, residual_rank: int = 0) -> Layout:
    """The flat vector of an adapter: one segment for each trained tensor of each target, no gaps.

    Args:
        targets: the modules.
        kind: of the adapter.
        rank: of what is trained.
        residual_rank: of what is carried beside it, in each module no more numbers than its weight has.
    """
    segments: list[Segment] = []
    start = 0
    for target in targets:
        shapes = kind.shapes(target.out_features, target.in_features, rank)
        for name, shape in shapes.items():
            suffix = "" if len(shapes) == 1 else f".{name}"
            segment = Segment(target.path + suffix, target.block, target.module + suffix, shape, start)
            segments.append(segment)
            start = segment.stop
    return Layout(tuple(segments), tuple(_carried(targets, residual_rank, start)))


def _carried(targets: tuple[Target, ...], rank: int, start: int) -> Iterator[Segment]:
    if not rank:
        return
    for target in targets:
        for name, shape in residual_shapes(target.out_features, target.in_features, rank).items():
            segment = Segment(f"{target.path}.{name}", target.block, f"{target.module}.{name}", shape, start)
            yield segment
            start = segment.stop


def _chosen_blocks(settings: AdapterSettings, num_blocks: int) -> tuple[int, ...]:
    if settings.layers == "all":
        return tuple(range(num_blocks))
    outside = [layer for layer in settings.layers if not -num_blocks <= layer < num_blocks]
    if outside:
        raise BackboneError(
            f"adapter.layers: {outside} names no block; the backbone has blocks "
            f"0 to {num_blocks - 1} (or -{num_blocks} to -1 from the top); name others"
        )
    return tuple(sorted({layer % num_blocks for layer in settings.layers}))


def _linears(path: str, index: int, block: nn.Module) -> Iterator[Target]:
    for name, module in block.named_modules():
        if is_linear(module):
            yield Target(f"{path}.{name}", index, name, *features(module))


def _refuse_experts(path: str, block: nn.Module) -> None:
    """Experts keep their weights in three-dimensional tensors and would be left out without a word."""
    for name, module in block.named_modules():
        own = module.named_parameters(recurse=False)
        stacked = [parameter_name for parameter_name, parameter in own if parameter.dim() > 2]
        if stacked and not isinstance(module, nn.Conv1d):  # a convolution mixes tokens and holds no experts
            raise BackboneError(
                f"adapter.modules: {path}.{name}.{stacked[0]} holds mixture experts, which cannot be trained "
                'privately here and would be skipped; name the modules to train instead of "all-linear"'
            )


def _matches(wanted: str, name: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")
