# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin ``fedpeft.testing.fixtures``.

Load it from the top ``conftest.py`` with ``pytest_plugins = ["fedpeft.testing.fixtures"]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from transformers import PreTrainedTokenizerFast

from fedpeft.backbone.base import Backbone
from fedpeft.testing import precision, tiny


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a chat template; see :func:`fedpeft.testing.tiny_tokenizer`."""
    return tiny.tiny_tokenizer()


@pytest.fixture
def tiny_backbone() -> Backbone:
    """A Llama of two blocks in float32, new for every test; see :func:`fedpeft.testing.tiny_backbone`."""
    return tiny.tiny_backbone()


@pytest.fixture
def float64_models() -> Iterator[None]:
    """Float64 models compute in float64 everywhere; see :func:`fedpeft.testing.float64_models`."""
    with precision.float64_models():
        yield
