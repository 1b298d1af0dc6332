# SPDX-License-Identifier: Apache-2.0
"""The frozen language model that every site trains an adapter for: found, converted once, loaded once.

``loading.load_backbone`` loads it; ``skeleton.backbone_skeleton`` has its modules without weights. Nothing is
imported here, so that planning does not wait for the library that loading needs.
"""
