# SPDX-License-Identifier: Apache-2.0
"""An empirical lower bound of epsilon, from canaries that the real mechanism releases beside a claim."""
