# SPDX-License-Identifier: Apache-2.0
"""The last message of a deployed run: its adapter and ``result.json``, from its folder to every site."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flwr.app import RecordDict

from fedpeft.delivery import PAPERS, DeliveringTransport, Delivery
from fedpeft.errors import RunDirectoryError
from fedpeft.flower.packing import Fields, encode_vector, pack, require, unpack, unpack_vector
from fedpeft.types import JsonDict

if TYPE_CHECKING:
    from fedpeft.workspace import Workspace

_log = logging.getLogger(__name__)

DELIVERED_FILE: Final = "delivered.json"
_TIMES: Final = ("seconds", "peak_rss_mb")
"""What the coordinator measured. How long a site took depends on its records, so no other site is told."""
_DELIVERY: Fields = {"run_id": str, "layout_digest": str, **dict.fromkeys(PAPERS, bytes), "digest": str}


def encode_delivery(delivery: Delivery) -> RecordDict:
    """A run's adapter and result."""
    fields = {name: getattr(delivery, name) for name in _DELIVERY}
    return pack("delivery", fields, vector=encode_vector(delivery.adapter), protocol=delivery.protocol)


def decode_delivery(content: RecordDict) -> Delivery:
    """The delivery, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``Delivery``, or another than its digest says.
    """
    fields = unpack(content, "delivery", _DELIVERY, has_vector=True)
    delivery = Delivery(**fields, adapter=unpack_vector(content))
    require("digest", delivery.digest == delivery.content_digest())
    return delivery


def deliver_run(workspace: Workspace, transport: DeliveringTransport) -> dict[str, str]:
    """Bring what is in a run's folder to every site that committed; write who has it to ``delivered.json``.

    Args:
        workspace: of the run, its adapter attached.
        transport: that knows the sites.

    Returns:
        By site: ``"delivered"``, a refusal's code, or ``"no answer"``.

    Raises:
        RunDirectoryError: no result is there.
    """
    from fedpeft.folder import RESULT_FILE, open_run  # heavy, as is the next

    out: Path = workspace.out
    config, checkpoint = open_run(out)
    if checkpoint is None or not (out / RESULT_FILE).is_file():
        raise RunDirectoryError(
            f"{out}: has no {RESULT_FILE} yet, so nothing can be delivered; resume the run"
        )
    adapter = checkpoint.released(averaged=config.federation.average_iterates)
    delivery = Delivery.of(checkpoint.run_id, workspace.adapter.digest, adapter, **_papers(out))
    sites = dict.fromkeys(sorted(checkpoint.schedules), delivery)
    answers = transport.deliver(sites, config.federation.deadline_s)
    kept = {site: (answers[site] or "delivered") if site in answers else "no answer" for site in sites}
    (out / DELIVERED_FILE).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    for site, what in kept.items():
        level = logging.INFO if what == "delivered" else logging.WARNING
        _log.log(level, "%s: adapter and result: %s", site, what)
    return {site: str(what) for site, what in kept.items()}


def _papers(out: Path) -> dict[str, bytes]:
    """Files of the run without any times; of lines without end the newest."""
    result = json.dumps(_untimed((out / "result.json").read_bytes()), indent=2, ensure_ascii=False) + "\n"
    lines = [json.dumps(_untimed(line)) + "\n" for line in (out / "rounds.jsonl").read_bytes().splitlines()]
    rounds, most = "".join(lines).encode(), PAPERS["rounds"]
    return {
        "result": result.encode(),
        "config": (out / "config.toml").read_bytes(),
        "rounds": rounds if len(rounds) <= most else rounds[-most:].partition(b"\n")[2],
    }


def _untimed(text: bytes) -> JsonDict:
    return {key: value for key, value in json.loads(text).items() if key not in _TIMES}
