# SPDX-License-Identifier: Apache-2.0
"""Reading a TOML file, with errors that say where in it they are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fedpeft.errors import ConfigError, unreadable

_AT_THE_END = "(at end of document)"


def read_toml(source: Path) -> dict[str, Any]:
    """The tables of a TOML file; a byte order mark is allowed.

    Raises:
        ConfigError: there is no such file, it cannot be read, is not UTF-8 or not TOML.
    """
    text = _read_text(source)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        lines = text.split("\n")
        end = f"(at line {len(lines)}, column {len(lines[-1]) + 1})"
        reason = str(error).replace(_AT_THE_END, end)
        raise ConfigError(f"{source}: not TOML: {reason}; mend the syntax there") from None
    except (ValueError, RecursionError) as error:  # what Python's own reader does not take
        raise ConfigError(f"{source}: not TOML: {unreadable(error)}") from None


def _read_text(source: Path) -> str:
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file; give the path of a run's TOML") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{source}: cannot be read ({reason}); give a TOML file") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"byte {error.start + 1}, in line {line}"
        raise ConfigError(f"{source}: {where}, is not UTF-8; save the file as UTF-8") from None
