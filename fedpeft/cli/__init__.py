# SPDX-License-Identifier: Apache-2.0
"""The ``fedpeft`` command: parse, import what the command needs, call it, print.

A command is one file here with one object called ``command``, and one line in ``entry.COMMANDS``.
"""

from fedpeft.cli.entry import main

__all__ = ["main"]
