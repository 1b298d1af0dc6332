# SPDX-License-Identifier: Apache-2.0
"""Which names the keys accept whose options are files: one file in a folder is one option.

A file ``a_b.py`` is the option ``"a-b"`` when it defines the class that the folder's options are made of;
files of the same folder without it only help. Source is searched, not imported: the options import tensor
libraries, and a configuration is checked without them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_FOLDERS: Final = {
    "method": ("methods", "Preset"),
    "adapter.kind": ("adapters", "Kind"),
    "privacy.allocation": ("privacy/allocation", "Rule"),
    "privacy.schedule": ("privacy/schedules", "Rule"),
    "privacy.arithmetic": ("privacy/arithmetic", "Kind"),
    "federation.aggregation": ("aggregation", "Rule"),
    "selection.selector": ("selection", "Rule"),
    "synthesis.generator": ("synthesis", "Kind"),
}

OPTION_KEYS: Final = tuple(_FOLDERS)
"""The keys whose values are names of files."""


def option_names(key: str) -> tuple[str, ...]:
    """The values that ``key`` accepts, sorted.

    Args:
        key: one of ``OPTION_KEYS``.
    """
    folder, class_name = _FOLDERS[key]
    defines_option = re.compile(rf"^class {class_name}\b", re.MULTILINE)
    files = sorted((_PACKAGE / folder).glob("*.py"))
    return tuple(
        file.stem.replace("_", "-") for file in files if defines_option.search(file.read_text("utf-8"))
    )
