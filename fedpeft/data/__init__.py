# SPDX-License-Identifier: Apache-2.0
"""Records of the organizations: read, split by unit, and turned into tokens."""
