# SPDX-License-Identifier: Apache-2.0
"""What a test of federated, private fine-tuning needs: tiny backbones, a tokenizer, exact arithmetic.

Public, for tests of programs that use fedpeft. As pytest fixtures::

    pytest_plugins = ["fedpeft.testing.fixtures"]
"""

from fedpeft.testing.precision import float64_models
from fedpeft.testing.tiny import TINY_KINDS, tiny_backbone, tiny_tokenizer

__all__ = ["TINY_KINDS", "float64_models", "tiny_backbone", "tiny_tokenizer"]
