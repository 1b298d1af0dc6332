# SPDX-License-Identifier: Apache-2.0
"""Float64 models that compute in float64 everywhere.

``transformers`` casts to float32 inside norms, rotary positions and softmax whatever the type of the weights.
Against a reference in float64, those casts leave differences around 1e-7, which would hide mistakes of the
same size; without them two correct implementations agree to 1e-10 and better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _DoubleForSingle(TorchFunctionMode):
    """Reads float64 wherever a call names float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {key: torch.float64 if arg is torch.float32 else arg for key, arg in (kwargs or {}).items()}
        return func(*args, **kwargs)


@contextmanager
def float64_models() -> Iterator[None]:
    """Within the context, every torch call on this thread that names float32 gets float64 instead.

    ``x.to(torch.float32)``, ``x.float()``, ``softmax(..., dtype=torch.float32)`` and new tensors asked for as
    float32 become float64, in models and in the code under test alike. Tensors that exist already keep their
    type: make the model itself with ``dtype=torch.float64``.
    """
    with _DoubleForSingle():
        yield
