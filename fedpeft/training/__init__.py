# SPDX-License-Identifier: Apache-2.0
"""Per-example gradients and the private local loop."""
