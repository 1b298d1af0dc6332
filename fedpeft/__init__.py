# SPDX-License-Identifier: Apache-2.0
"""Federated low-rank adapters with differential privacy at every site, on Flower.

Nothing is imported here but the version: each part of the package is imported by its own name.
"""

from importlib.metadata import version

__version__ = version("fedpeft")
