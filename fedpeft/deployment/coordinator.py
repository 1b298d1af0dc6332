# SPDX-License-Identifier: Apache-2.0
"""The coordinator as an organization sees it before it joins: certificate, TLS, clock."""

from __future__ import annotations

import datetime
import email.utils
import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from fedpeft.deployment.finding import Finding

_SOON: Final = datetime.timedelta(days=30)
_CLOCK_S: Final = 300.0
"""Flower refuses signatures whose time is further off."""
_TIMEOUT_S: Final = 10.0


def certificate_findings(path: Path | None) -> Iterator[Finding]:
    """Whether the coordinator's root certificate can be read and is valid today, if one is named."""
    if path is None:
        return
    key = f"site.certificate = {path}"
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
    key = f"site.superlink = {address}"
    host, _, port = address.rpartition(":")
    try:
        trust = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(
            host.strip("[]"), int(port), timeout=_TIMEOUT_S, context=trust
        )
        connection.connect()
        ends = _end_of(connection.sock)
        connection.request("GET", "/")
        date = connection.getresponse().headers.get("date")
        connection.close()
    except ssl.SSLCertVerificationError as error:
        yield Finding(False, f"{key}: {_of_certificate(error)}")
        return
    except ssl.SSLError:
        yield Finding(False, f"{key}: does not speak TLS; the coordinator must not start it with --insecure")
        return
    except (OSError, OverflowError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        yield Finding(False, f"{key}: does not answer ({reason}); check address, firewall, and that it runs")
        return
    soon = f" until {ends:%Y-%m-%d} only; the coordinator must renew it" if _is_soon(ends) else ""
    yield Finding(True, f"{key}: answers under the coordinator's certificate{soon}")
    yield from _clock(date)


def _end_of(connection: ssl.SSLSocket) -> datetime.datetime:
    """Of the certificate that was shown."""
    shown = (connection.getpeercert() or {})["notAfter"]
    return datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown)), datetime.UTC)


def _is_soon(ends: datetime.datetime) -> bool:
    return ends - datetime.datetime.now(datetime.UTC) < _SOON


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message
    if "expired" in reason:
        return "its certificate has expired; the coordinator must make a new one, or this clock is wrong"
    if "match" in reason:
        return "its certificate is for other names; use one of them, or the coordinator must add this one"
    return (
        f"its certificate is not of this root ({reason}); name the coordinator's ca.crt in site.certificate"
    )


def _clock(date: str | None) -> Iterator[Finding]:
    try:
        there = email.utils.parsedate_to_datetime(date or "")
    except ValueError:  # a server that does not say
        return
    off_s = abs(datetime.datetime.now(datetime.UTC).timestamp() - there.timestamp())
    if off_s > _CLOCK_S:
        yield Finding(
            False,
            f"clock: {off_s:.0f} s off the coordinator's, where {_CLOCK_S:g} s are the most; set the clock",
        )
