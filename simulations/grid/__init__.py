# SPDX-License-Identifier: Apache-2.0
"""Experiments: a list of cells, each a run with a seed, done one by one and written down as they end."""
