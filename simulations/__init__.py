# SPDX-License-Identifier: Apache-2.0
"""Runs that ship, and what was measured with them."""
