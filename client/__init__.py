# SPDX-License-Identifier: Apache-2.0
"""Deployed at the organizations."""
