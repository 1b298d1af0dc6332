# SPDX-License-Identifier: Apache-2.0
"""The adapter of a run: attached to one frozen backbone, seen from outside as one flat vector."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.base import AdaptedLinear, AdapterKind
from fedpeft.adapters.singular import directions
from fedpeft.adapters.sink import GradientSink
from fedpeft.adapters.start import Start, starts
from fedpeft.adapters.targets import Target, find_targets, layout_of
from fedpeft.settings import AdapterSettings
from fedpeft.types import FloatVector, Layout, Part


class Adapter:
    """Low-rank updates of chosen linear modules.

    One adapter serves any number of sites: what differs between them is the vector that is loaded, never
    the backbone.

    Attributes:
        layout: the segments of the flat vector, ``d`` trained elements and ``D`` with what is carried.
        targets: the modules that carry them.
        digest: of the layout and of the frozen matrices around it: parties with different seeds, weights or
            bases differ in it, and must not add their vectors.
    """

    def __init__(self, model: nn.Module, settings: AdapterSettings) -> None:
        """Attach to ``model`` in place; the update is zero at first.

        Raises:
            BackboneError: the settings name blocks or modules that are not there.
            ConfigError: ``start_file`` cannot be used.
        """
        kind = find_kind(settings.kind)
        self.model = model
        self.settings = settings
        self.targets = find_targets(model, settings)
        self.layout: Layout = layout_of(self.targets, kind, settings.rank, settings.residual_rank)
        start = starts(settings)
        self.modules = [self._attach(target, kind, start) for target in self.targets]
        self._trained: list[Tensor] = []
        for module in self.modules:
            tensors = module.trained()
            module.keys = tuple(range(len(self._trained), len(self._trained) + len(tensors)))
            self._trained.extend(tensors)
        self._carried = [
            factor
            for module in self.modules
            if settings.residual_rank
            for factor in module.carry(settings.residual_rank)
        ]
        self.digest = _digest(self.layout, self.modules)

    def _attach(self, target: Target, kind: AdapterKind, start: Callable[[str], Start]) -> AdaptedLinear:
        parent_path, _, name = target.path.rpartition(".")
        parent = self.model.get_submodule(parent_path)
        digest = hashlib.sha256(f"{self.settings.seed}/{target.path}".encode()).digest()
        random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
        adapted = kind.attach(getattr(parent, name), self.settings.rank, random, start(target.path))
        setattr(parent, name, adapted)
        return adapted

    @property
    def device(self) -> torch.device:
        """Where the trained tensors are."""
        return self._trained[0].device

    def zeros(self) -> FloatVector:
        """The ``(D,)`` vector of an update that changes nothing."""
        return np.zeros(self.layout.state_size, dtype=np.float32)

    def part(self, rank: int) -> Part:
        """What a site of that rank trains.

        Args:
            rank: at most the adapter's; that, or 0: everything.
        """
        if rank in (0, self.settings.rank):
            return Part.everything(self.layout)
        return Part(self.layout, layout_of(self.targets, find_kind(self.settings.kind), rank), rank)

    def load(self, values: np.ndarray) -> None:
        """Put a ``(D,)`` vector into the modules, or a ``(d,)`` one, with which nothing is carried.

        Raises:
            ValueError: another length.
        """
        layout = self.layout
        if values.shape not in ((layout.state_size,), (layout.size,)):
            raise ValueError(f"adapter vector: shape {values.shape}, expected ({layout.state_size},)")
        flat = torch.from_numpy(np.array(values)).to(self.device)  # a copy: the caller's may be read-only
        with torch.no_grad():
            for tensor, segment in zip(self._trained, layout.segments, strict=True):
                tensor.copy_(flat[segment.slice].view(segment.shape))
            for tensor, segment in zip(self._carried, layout.carried, strict=True):
                if segment.stop <= flat.numel():
                    tensor.copy_(flat[segment.slice].view(segment.shape))
                else:
                    tensor.zero_()
        for module in self.modules:
            module.count_carried()

    @contextmanager
    def recording(self) -> Iterator[GradientSink]:
        """Within the context, backward passes leave per-example gradients, by index of the segment."""
        sink = GradientSink()
        for module in self.modules:
            module.sink = sink
        try:
            yield sink
        finally:
            for module in self.modules:
                module.sink = None

    def detach(self) -> None:
        """Give the backbone its own modules back."""
        for target, module in zip(self.targets, self.modules, strict=True):
            parent_path, _, name = target.path.rpartition(".")
            setattr(self.model.get_submodule(parent_path), name, module.base)


def find_kind(name: str) -> AdapterKind:
    """The adapter kind in the module of that name."""
    module = importlib.import_module(f"fedpeft.adapters.{name.replace('-', '_')}")
    kind: AdapterKind = module.Kind()
    return kind


def _digest(layout: Layout, modules: Sequence[AdaptedLinear]) -> str:
    """Coarse in the frozen matrices, which differ in their last bits between machines.

    Each row, or column where these are longer, is projected to one number around 0.3 and rounded to 0.01: a
    real difference shows in some of the numbers, an error of 1e-9 crosses a boundary by a rare accident only.
    """
    digest = hashlib.sha256(layout.digest.encode())
    for module in modules:
        for matrix in module.fixed():
            rows = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()).double().cpu().numpy()
            digest.update(np.floor(rows @ directions(rows.shape[1]) * 100).astype("<i8").tobytes())
    return digest.hexdigest()


def plan_layout(model: nn.Module, settings: AdapterSettings) -> Layout:
    """The layout an adapter would have, without attaching one; a meta-device model will do."""
    kind = find_kind(settings.kind)
    return layout_of(find_targets(model, settings), kind, settings.rank, settings.residual_rank)
