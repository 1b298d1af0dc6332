# SPDX-License-Identifier: Apache-2.0
"""Where fedpeft keeps what it can make again: converted backbones and extracted docstrings."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "FEDPEFT_CACHE"


def cache_dir() -> Path:
    """Folder of the caches; nothing private is ever put there, and it may be deleted at any time.

    Returns:
        The folder that the environment variable ``FEDPEFT_CACHE`` names, else the user's own cache folder
        for fedpeft. It need not exist yet.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("fedpeft")
