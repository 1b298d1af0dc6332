# SPDX-License-Identifier: Apache-2.0
"""Methods by name: presets of a run's keys, and references that are trained in another way. One a file."""
