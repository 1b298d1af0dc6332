# SPDX-License-Identifier: Apache-2.0
"""Synthetic instruction data that the coordinator holds: what generators make, and what they cost."""
