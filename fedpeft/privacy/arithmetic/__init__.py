# SPDX-License-Identifier: Apache-2.0
"""In which numbers clipped units are summed and noised; one file for each value of ``privacy.arithmetic``."""
