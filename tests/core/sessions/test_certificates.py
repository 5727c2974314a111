"""A session's CA: what it signs verifies, its key is nowhere, bundles are checked."""

from __future__ import annotations

import ssl
import time

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from aileron_core.errors import AileronError
from aileron_core.sessions.certificates import SessionAuthority, clean_roots


@pytest.fixture
def authority():
    """A CA made now."""
    return SessionAuthority("s_1", now=time.time(), lifetime=3600)


async def handshake(authority, name, roots=None):
    """A TLS connection to a server with this authority's certificate."""
    client_context = ssl.create_default_context(cadata=(roots or authority.pem).decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = trio.testing.memory_stream_pair()
    client = trio.SSLStream(near, client_context, server_hostname=name)
    server = trio.SSLStream(
        far, authority.server_context(["127.0.0.1", "localhost"]), server_side=True
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_its_certificates_verify(authority, name):
    """By address and by name, under the strict rules of RFC 5280."""
    await handshake(authority, name)


async def test_another_name_is_refused(authority):
    """A leaf is for its names only."""
    with pytest.raises(ExceptionGroup) as caught:
        await handshake(authority, "example.com")
    assert caught.group_contains(trio.BrokenResourceError)


async def test_another_sessions_ca_is_refused(authority):
    """One session's certificates mean nothing to another's sandbox."""
    other = SessionAuthority("s_2", now=time.time())
    with pytest.raises(ExceptionGroup):
        await handshake(authority, "127.0.0.1", other.pem)


def test_it_is_a_short_lived_ca_that_signs_no_ca(authority):
    """P-256, path length 0, hours of life."""
    certificate = x509.load_pem_x509_certificate(authority.pem)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.total_seconds() <= 3 * 3600


def test_a_destroyed_authority_signs_nothing(authority):
    """At the session's end the keys are gone."""
    authority.destroy()
    with pytest.raises(RuntimeError):
        authority.server_context(["localhost"])


def test_no_key_is_written(authority):
    """The certificate is all that leaves; nothing of the key is in it."""
    assert b"PRIVATE" not in authority.pem


def test_roots_are_cleaned(authority):
    """Comments go, certificates stay, several in one file."""
    pem = b"# a comment\n" + authority.pem + b"\n# more\n" + authority.pem
    assert clean_roots(pem).count(b"BEGIN CERTIFICATE") == 2
    assert b"comment" not in clean_roots(pem)
    assert clean_roots(b"") == b""


@pytest.mark.parametrize(
    "pem",
    [
        b"\0" * 100,
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n",
    ],
)
def test_a_broken_bundle_is_refused(pem):
    """A file of NULs or a certificate that does not parse is one clear error."""
    with pytest.raises(AileronError) as caught:
        clean_roots(pem)
    assert caught.value.code == "certificates-broken"
