# SPDX-License-Identifier: Apache-2.0
"""The trainable low-rank subspace of a frozen backbone: build it, move it as one vector, export it."""
