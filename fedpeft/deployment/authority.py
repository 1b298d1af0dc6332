# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of a deployment: a small authority for one server, and keys of nodes.

The authority may sign for one server only (path length 0) and its key is needed again only to renew that
certificate, so it belongs off the server. Nodes have keys, not certificates: Flower verifies their signatures
under TLS.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
_CLOCKS_DIFFER: Final = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key and what is public of it.

    Attributes:
        key: PEM, without a password; a file of its own, mode 0600.
        public: PEM of a certificate, or a public key in OpenSSH's format.
    """

    key: bytes
    public: bytes


def make_authority(name: str, now: datetime.datetime | None = None) -> Pair:
    """A certificate that signs one server's.

    Args:
        name: of the federation, for people.
        now: the first moment it is valid, an hour earlier.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority"[:64])])
    certificate = (
        _builder(subject, subject, key.public_key(), AUTHORITY_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    return Pair(_pem(key), certificate.public_bytes(serialization.Encoding.PEM))


def make_server(authority: Pair, hosts: Sequence[str], now: datetime.datetime | None = None) -> Pair:
    """A certificate for a server.

    Args:
        authority: that ``make_authority`` made.
        hosts: every name and address by which it is reached.
        now: the first moment it is valid, an hour earlier.

    Raises:
        ValueError: no host, or one that is neither a name nor an address.
    """
    if not hosts:
        raise ValueError("a certificate needs at least one host")
    signer = serialization.load_pem_private_key(authority.key, None)
    issuer = x509.load_pem_x509_certificate(authority.public)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)  # as made above
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), SERVER_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA384())
    )
    return Pair(_pem(key), certificate.public_bytes(serialization.Encoding.PEM))


def make_node_key(comment: str) -> Pair:
    """A key that a SuperNode signs its requests with, in OpenSSH's formats as Flower reads them.

    Args:
        comment: stands behind the public key, for people.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    encoding, private = serialization.Encoding, serialization.PrivateFormat
    public = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    secret = key.private_bytes(encoding.PEM, private.OpenSSH, serialization.NoEncryption())
    return Pair(secret, public + b" " + comment.encode() + b"\n")


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    days: int,
    now: datetime.datetime | None,
) -> x509.CertificateBuilder:
    first = (now or datetime.datetime.now(datetime.UTC)) - _CLOCKS_DIFFER
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(first + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
