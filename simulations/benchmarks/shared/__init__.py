# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks have in common: clocks, memory, steps to compare, lengths, the table."""
