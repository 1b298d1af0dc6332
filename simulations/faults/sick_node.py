# SPDX-License-Identifier: Apache-2.0
"""Flower's SuperNode with one fault: it answers everything twice, or its clock is wrong.

python -m simulations.faults.sick_node twice|clock ARGUMENTS-OF-FLOWER-SUPERNODE
"""

from __future__ import annotations

import datetime
import importlib
import sys
from typing import Any

OFF = datetime.timedelta(minutes=10)


def _twice() -> None:
    node: Any = importlib.import_module("flwr.supernode.start_client_internal")
    real = node._push_messages

    def push(state: Any, object_store: Any, send: Any, push_object: Any) -> None:
        sent: list[Any] = []

        def noting(*given: Any) -> Any:
            sent.append(given)
            return send(*given)

        real(state, object_store, noting, push_object)
        for given in sent:
            try:
                print("second answer:", send(*given)[0] or "nothing wanted of it", file=sys.stderr)
            except Exception as error:
                print("second answer refused:", type(error).__name__, error, file=sys.stderr)

    node._push_messages = push


def _clock() -> None:
    signer: Any = importlib.import_module("flwr.supernode.node_auth_http_interceptor")
    real = signer.now
    signer.now = lambda: real() - OFF


def main() -> int:
    """Patch, then be a SuperNode."""
    fault = sys.argv.pop(1)
    sys.argv[0] = "flower-supernode"
    {"twice": _twice, "clock": _clock}[fault]()
    return int(importlib.import_module("flwr.supernode.cli").flower_supernode() or 0)


if __name__ == "__main__":
    sys.exit(main())
