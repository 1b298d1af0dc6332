# SPDX-License-Identifier: Apache-2.0
"""What the coordinator makes of the sites' releases: aggregation rules, one a file, and server optimizers.

Everything here is a function of releases and public numbers only, so it costs no privacy.
"""
