# SPDX-License-Identifier: Apache-2.0
"""Speed and memory, each figure from one command: ``python -m simulations.benchmarks NAME``."""
