# SPDX-License-Identifier: Apache-2.0
"""How noise is shared among segments; a rule is one file."""
