# SPDX-License-Identifier: Apache-2.0
"""Drawings of the report, by matplotlib, as SVG that follows the page's colours."""
