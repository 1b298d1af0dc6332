# SPDX-License-Identifier: Apache-2.0
"""The backbone of a run as a writer of pairs."""

from __future__ import annotations

from pathlib import Path

from fedpeft.synthesis.writing import Writer
from fedpeft.workspace import Workspace


def make_writer(workspace: Workspace, folder: Path) -> Writer:
    """The backbone of ``workspace``; what it writes is kept in ``folder``."""
    backbone, data = workspace.backbone, workspace.config.data
    return Writer(workspace.adapter, backbone.tokenizer, data, workspace.lock, folder)
