# SPDX-License-Identifier: Apache-2.0
"""What a test of federated, private fine-tuning needs, for your programs as for ours.

Tiny backbones and a tokenizer made in memory, exact arithmetic, a slow reference for gradients, and a whole
federation in one call. As pytest fixtures::

    pytest_plugins = ["fedpeft.testing.fixtures"]
"""

from fedpeft.testing.federation import run_tiny_federation, tiny_config, write_records
from fedpeft.testing.precision import float64_models
from fedpeft.testing.reference import all_gradients, dummy_examples, gradient_error, loop_gradients
from fedpeft.testing.tiny import TINY_KINDS, TINY_MIXTURES, tiny_backbone, tiny_tokenizer

__all__ = [
    "TINY_KINDS",
    "TINY_MIXTURES",
    "all_gradients",
    "dummy_examples",
    "float64_models",
    "gradient_error",
    "loop_gradients",
    "run_tiny_federation",
    "tiny_backbone",
    "tiny_config",
    "tiny_tokenizer",
    "write_records",
]
