# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a deployment, brought about on purpose with real processes, and what follows."""
