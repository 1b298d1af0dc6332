# SPDX-License-Identifier: Apache-2.0
"""The frozen language model that every site trains an adapter for: found, converted once, loaded once."""

from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import backbone_skeleton, load_backbone

__all__ = ["Backbone", "backbone_skeleton", "load_backbone"]
