# SPDX-License-Identifier: Apache-2.0
"""The frozen language model that every site trains an adapter for: found, converted once, loaded once."""

from fedpeft.backbone.base import Backbone

__all__ = ["Backbone"]
