# SPDX-License-Identifier: Apache-2.0
"""Where a site keeps what runs deliver: ``delivered/RUN_ID/DIGEST`` with ``adapter/`` and a report's files.

Nothing that a message says becomes part of a path but a run's id, which the site's own ledger knows, and a
digest that the site computed. A folder that is there is never written again, and a run has room for a few
deliveries only: a run that stopped and was resumed has two.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.peft_format import export_peft
from fedpeft.delivery import PAPERS, Delivery
from fedpeft.errors import Refusal
from fedpeft.site.fields import check_protocol, refuse_malformed
from fedpeft.types import FILTER_RUN, RefusalCode

_log = logging.getLogger(__name__)

FOLDER: Final = "delivered"
_MOST: Final = 4
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_DIGITS: Final = 16
_DRAFT: Final = ".draft"
_CARD_FILE: Final = "README.md"
_FILES: Final = {"result.json": "result", "config.toml": "config", "rounds.jsonl": "rounds"}


def check_delivery(delivery: Delivery, adapter: Adapter) -> None:
    """Refuse what could not be kept, before anything is written.

    Raises:
        Refusal: ``PROTOCOL`` for another version, ``MALFORMED`` for any field out of its range.
    """
    check_protocol(delivery.protocol)
    refuse_malformed(
        {
            "run_id": _RUN_ID.fullmatch(delivery.run_id) is not None and delivery.run_id != FILTER_RUN,
            "layout_digest": delivery.layout_digest == adapter.digest,
            "adapter": delivery.adapter.shape == (adapter.layout.state_size,)
            and bool(np.isfinite(delivery.adapter).all()),
            "digest": delivery.digest == delivery.content_digest(),
            **{name: len(getattr(delivery, name)) <= most for name, most in PAPERS.items()},
        }
    )
    refuse_malformed(
        {
            "result": _is_object(delivery.result)
            and json.loads(delivery.result).get("run_id", delivery.run_id) == delivery.run_id,
            "config": _is_text(delivery.config),
            "rounds": all(map(_is_object, delivery.rounds.splitlines())),
        }
    )


class Inbox:
    """The folder of a site's deliveries."""

    def __init__(self, folder: Path, backbone: str, card: Callable[[Delivery], str] | None = None) -> None:
        """Know where it is; nothing is made yet.

        Args:
            folder: of the site.
            backbone: the site's own name or path of it, for the adapter's record.
            card: the text of the adapter's ``README.md``, in the site's own words; none is written without.
        """
        self._folder = folder / FOLDER
        self._backbone = backbone
        self._card = card

    def keep(self, delivery: Delivery, adapter: Adapter) -> Path:
        """Write a checked delivery whole, or nothing; one that is there already is left as it is.

        Args:
            delivery: that ``check_delivery`` let through, of a run that the ledger knows.
            adapter: with the delivery's vector loaded.

        Returns:
            The folder that holds it.

        Raises:
            Refusal: ``POLICY`` where the run has as many deliveries as there is room for.
        """
        of_run = self._folder / delivery.run_id
        kept = of_run / delivery.digest[:_DIGITS]
        if kept.exists():
            return kept
        for folder in (self._folder, of_run):
            folder.mkdir(mode=0o700, exist_ok=True)
        if sum(1 for path in of_run.iterdir() if path.suffix != _DRAFT) >= _MOST:
            raise Refusal(RefusalCode.POLICY, f"{of_run}: holds {_MOST} deliveries already")
        draft = kept.with_suffix(_DRAFT)
        shutil.rmtree(draft, ignore_errors=True)  # of a crash
        draft.mkdir(mode=0o700)
        export_peft(adapter, draft / "adapter", self._backbone)
        if self._card is not None:
            (draft / "adapter" / _CARD_FILE).write_text(self._card(delivery), encoding="utf-8")
        for name, paper in _FILES.items():
            (draft / name).write_bytes(getattr(delivery, paper))
        os.rename(draft, kept)
        _log.info("a run's adapter and result are in %s", kept)
        return kept


def _is_object(data: bytes) -> bool:
    """Whether it is a JSON object; what stands in it is the coordinator's word."""
    try:
        return isinstance(json.loads(data.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except ValueError:
        return False
