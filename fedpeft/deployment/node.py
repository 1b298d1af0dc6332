# SPDX-License-Identifier: Apache-2.0
"""``fedpeft node check``: what would keep a SuperNode out, in one line that says what to mend.

Flower's own words for it are a code, or none at all where the clock is wrong. It is the courier's user who
asks, since nobody else may read the node's key.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from fedpeft.deployment.coordinator import Where, ask, certificate_findings, clock_findings
from fedpeft.deployment.finding import Finding, are_good
from fedpeft.flower.joining import Standing, join_request, standing

_LOOK_S: Final = 5.0
_TIMEOUT_S: Final = 10.0


def node_findings(where: Where, key: Path) -> Iterator[Finding]:
    """Whether a SuperLink would let the node of a key in. Nothing changes there.

    Args:
        where: it is.
        key: the node's private key.

    Raises:
        UserError: the key cannot be read.
    """
    root = list(certificate_findings(where.certificate, where.root_name))
    if not are_good(root):
        yield from root
        return
    request = join_request(key)
    reply = ask(where, "POST", request.path, request.body, request.headers)
    if isinstance(reply, Finding):
        yield reply
        return
    found = standing(reply.status, reply.body)
    if found is Standing.UNSIGNED:
        clock = list(clock_findings(reply.date))
        mend = "give the node the key that fedpeft init site made for it"
        yield from clock or [Finding(False, f"{key}: its signature is refused; {mend}")]
    elif found is Standing.UNKNOWN:
        yield Finding(
            False,
            f"{key}: is not registered with the coordinator; send it {key}.pub, for its ./register.sh",
        )
    elif found is Standing.STRANGE:
        yield Finding(False, f"{where}: is no SuperLink that is known here (HTTP {reply.status}); check it")
    else:
        yield Finding(True, f"{key}: registered (code 2004 now: its last node left less than a minute ago)")


def wait_until_it_answers(
    where: Where, say: Callable[[str], None], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until somebody listens at the address.

    Args:
        where: to look.
        say: told once that there is nobody yet.
        sleep: waits.
    """
    told = False
    while True:
        try:
            socket.create_connection(where.host_and_port, timeout=_TIMEOUT_S).close()
            return
        except (OSError, OverflowError) as error:
            if not told:
                reason = getattr(error, "strerror", None) or type(error).__name__
                say(f"{where}: does not answer yet ({reason}); looking again every {_LOOK_S:g} s")
                told = True
        sleep(_LOOK_S)
