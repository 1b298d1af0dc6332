# SPDX-License-Identifier: Apache-2.0
"""An organization's trusted side."""
