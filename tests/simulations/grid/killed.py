# SPDX-License-Identifier: Apache-2.0
"""A process that runs the tiny experiment and kills itself at a chosen moment: ``FOLDER MOMENT NUMBER``.

``line N``: when half of the N-th line is written; ``cell N``: in the middle of the N-th cell's training;
``never 0``.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fedpeft.site import site as site_module
from simulations.grid.__main__ import Places, main


def kill_in_line(number: int) -> None:
    """Tear the line of that number."""
    write, lines = os.write, []

    def torn(handle: int, data: bytes) -> int:
        if data.startswith(b'{"minutes"'):
            lines.append(data)
            if len(lines) == number:
                write(handle, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        return write(handle, data)

    os.write = torn


def kill_in_cell(number: int) -> None:
    """When the second of a cell's two sites is to train."""
    update, calls = site_module.local_update, []

    def killed(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2 * number:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(*arguments)

    site_module.local_update = killed


if __name__ == "__main__":
    root, moment, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    {"line": kill_in_line, "cell": kill_in_cell, "never": id}[moment](count)
    places = Places(
        root / "experiments", root / "results", root / "figures", root / "README.md", root / "work"
    )
    sys.exit(main(["run", "tiny"], places))
