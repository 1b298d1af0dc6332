# SPDX-License-Identifier: Apache-2.0
"""The coordinator as an organization sees it before it joins: certificate, TLS, clock."""

from __future__ import annotations

import datetime
import email.utils
import http.client
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from fedpeft.deployment.finding import Finding

_SOON: Final = datetime.timedelta(days=30)
SLOW_S: Final = 300.0
"""Flower refuses a node's signature that is older."""
FAST_S: Final = 5.0
"""It refuses one that is from further in the future."""
_WHOLE_SECOND_S: Final = 1.0
_TIMEOUT_S: Final = 10.0
_MOST_BYTES: Final = 65536


def certificate_findings(path: Path | None, name: str = "site.certificate") -> Iterator[Finding]:
    """Whether the coordinator's root certificate can be read and is valid today, if one is named.

    Args:
        path: of the certificate.
        name: of the key or option that gave it.
    """
    if path is None:
        return
    key = f"{name} = {path}"
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        yield Finding(False, f"{key}: {error.strerror}; ask the coordinator for ca.crt")
        return
    except ValueError:
        yield Finding(False, f"{key}: is no PEM certificate; ask the coordinator for ca.crt")
        return
    now = datetime.datetime.now(datetime.UTC)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= now <= last:
        mend = "ask the coordinator for a new one" if now > last else "set this machine's clock"
        yield Finding(False, f"{key}: is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}; {mend}")
    else:
        soon = ", in less than 30 days; ask the coordinator for a new one" if _is_soon(last) else ""
        yield Finding(True, f"{key}: valid until {last:%Y-%m-%d}{soon}")


def superlink_findings(address: str | None, certificate: Path | None) -> Iterator[Finding]:
    """Whether the coordinator's SuperLink answers under its certificate, and whether the clocks agree."""
    if address is None:
        return
    where = Where(address, certificate, "site.superlink", "site.certificate")
    reply = ask(where, "GET", "/")
    if isinstance(reply, Finding):
        yield reply
        return
    soon = f" until {reply.ends:%Y-%m-%d} only; the coordinator must renew it" if _is_soon(reply.ends) else ""
    yield Finding(True, f"{where}: answers under the coordinator's certificate{soon}")
    yield from clock_findings(reply.date)


@dataclass(frozen=True, slots=True)
class Where:
    """A SuperLink, and how those who look at it know it.

    Attributes:
        address: ``HOST:PORT``.
        certificate: the root to trust; ``None``: those of this machine.
        name: of the key or option that gave the address.
        root_name: of the one that gave the root.
    """

    address: str
    certificate: Path | None
    name: str
    root_name: str

    def __str__(self) -> str:
        return f"{self.name} = {self.address}"

    @property
    def host_and_port(self) -> tuple[str, int]:
        """For a connection."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a SuperLink answered.

    Attributes:
        status: of HTTP.
        date: the header of this name, the server's clock.
        ends: when its certificate does.
    """

    status: int
    body: bytes
    date: str | None
    ends: datetime.datetime


def ask(
    where: Where, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply | Finding:
    """Ask a SuperLink something under TLS; where no answer comes, what is wrong and how to mend it."""
    host, port = where.host_and_port
    try:
        trust = ssl.create_default_context(cafile=where.certificate)
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=trust)
        connection.connect()
        ends = _end_of(connection.sock)
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        reply = Reply(response.status, response.read(_MOST_BYTES), response.headers.get("date"), ends)
        connection.close()
    except ssl.SSLCertVerificationError as error:
        return Finding(False, f"{where}: {_of_certificate(error, where.root_name)}")
    except ssl.SSLError:
        return Finding(
            False, f"{where}: does not speak TLS; the coordinator must not start it with --insecure"
        )
    except (OSError, OverflowError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return Finding(
            False, f"{where}: does not answer ({reason}); check address, firewall, and that it runs"
        )
    return reply


def _end_of(connection: ssl.SSLSocket) -> datetime.datetime:
    """Of the certificate that was shown."""
    shown = (connection.getpeercert() or {})["notAfter"]
    return datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown)), datetime.UTC)


def _is_soon(ends: datetime.datetime) -> bool:
    return ends - datetime.datetime.now(datetime.UTC) < _SOON


def _of_certificate(error: ssl.SSLCertVerificationError, root_name: str) -> str:
    reason = error.verify_message
    if "expired" in reason:
        return "its certificate has expired; the coordinator must make a new one, or this clock is wrong"
    if "match" in reason:
        return "its certificate is for other names; use one of them, or the coordinator must add this one"
    return f"its certificate is not of this root ({reason}); name the coordinator's ca.crt in {root_name}"


def clock_findings(date: str | None) -> Iterator[Finding]:
    """Whether this clock goes as the coordinator's, as far as nodes must; nothing where it does.

    Args:
        date: the header of an answer that has just come, in whole seconds.
    """
    try:
        there = email.utils.parsedate_to_datetime(date or "")
    except ValueError:  # a server that does not say
        return
    ahead_s = datetime.datetime.now(datetime.UTC).timestamp() - there.timestamp()
    if not -SLOW_S <= ahead_s <= FAST_S + _WHOLE_SECOND_S:
        word = "ahead of" if ahead_s > 0 else "behind"
        yield Finding(
            False,
            f"clock: {abs(ahead_s):.0f} s {word} the coordinator's, where {SLOW_S:g} s behind and "
            f"{FAST_S:g} s ahead are the most; set the clock",
        )
