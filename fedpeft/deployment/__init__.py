# SPDX-License-Identifier: Apache-2.0
"""Real organizations and real processes: the resident site, its checks, and what sets a party up."""
