# SPDX-License-Identifier: Apache-2.0
"""Small files that are whole or absent, whatever moment the machine stops at."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Replace ``path`` at once by a file that is on the disk already.

    Raises:
        OSError: it cannot be written; the old file is intact.
    """
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
