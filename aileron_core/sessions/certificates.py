"""A session's own certificate authority: made in memory, gone with the session.

EC P-256 throughout (an RSA key costs 38 ms, this one 0.1). No key is ever written to a disk:
OpenSSL wants a file, so it reads a memfd that exists while it loads.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aileron_core.errors import EXIT_SOFTWARE, ErrorCode

CERTIFICATES_BROKEN = ErrorCode(
    "certificates-broken", EXIT_SOFTWARE, "A certificate file is not what was meant to be written."
)

LIFETIME = 7 * 24 * 3600.0
"""Seconds that a session's CA lives when the session has no time limit."""
_SKEW = 3600.0
"""Seconds of clock difference that are forgiven on both ends."""
_BEGIN = b"-----BEGIN CERTIFICATE-----"


class SessionAuthority:
    """Signs certificates that only this session's sandbox trusts.

    Attributes:
        pem: the CA's certificate, to be trusted inside the sandbox.
    """

    def __init__(self, session: str, *, now: float, lifetime: float | None = None) -> None:
        seconds = LIFETIME if lifetime is None else lifetime
        self._key: ec.EllipticCurvePrivateKey | None = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key: ec.EllipticCurvePrivateKey | None = ec.generate_private_key(ec.SECP256R1())
        self._from = _moment(now - _SKEW)
        self._to = _moment(now + seconds + _SKEW)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Aileron {session}")])
        self._certificate = self._self_signed(self._key)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def server_context(self, names: Sequence[str]) -> ssl.SSLContext:
        """A TLS server context for the given host names and addresses (the first is the subject).

        Raises:
            RuntimeError: the authority was destroyed.
        """
        key = self._require(self._leaf_key)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        leaf = self._leaf(names, key).public_bytes(serialization.Encoding.PEM)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_chain(context, secret + leaf)
        return context

    def destroy(self) -> None:
        """Forget the keys: nothing can be signed any more."""
        self._key = None
        self._leaf_key = None

    @staticmethod
    def _require(key: ec.EllipticCurvePrivateKey | None) -> ec.EllipticCurvePrivateKey:
        if key is None:
            raise RuntimeError("the session's CA key is destroyed")
        return key

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._to)
        )

    def _self_signed(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        public = key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        return (
            self._builder(self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )

    def _leaf(self, names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        signer = self._require(self._key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(server, critical=False)
            .add_extension(issuer, critical=False)
            .sign(signer, hashes.SHA256())
        )


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def clean_roots(pem: bytes) -> bytes:
    """The certificates in ``pem``, every one of which parses; comments between them are dropped.

    A bundle with NUL bytes or a broken certificate in it makes every TLS client inside fail in its
    own way, so it is refused here with one clear error.

    Raises:
        AileronError: ``certificates-broken``.
    """
    if b"\0" in pem:
        raise CERTIFICATES_BROKEN("the CA bundle holds NUL bytes")
    if _BEGIN not in pem:
        return b""
    try:
        roots = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CERTIFICATES_BROKEN("the CA bundle does not parse", why=str(error)) from error
    return b"".join(root.public_bytes(serialization.Encoding.PEM) for root in roots)
