# SPDX-License-Identifier: Apache-2.0
"""Malformed input for a deployed site: requests to its socket, and its organization's own files."""
