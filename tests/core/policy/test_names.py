"""Hosts and paths have one form; what parsers may read differently is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.policy.names import canonical_host, canonical_path, is_address


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("rr3---sn-x.example.com", "rr3---sn-x.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[::1]", "::1"),
        ("1.example", "1.example"),
        ("0x7f.example", "0x7f.example"),
    ],
)
def test_host_has_one_form(given_: str, canonical: str) -> None:
    """Lower case, no trailing dot, addresses as they are written shortest."""
    assert canonical_host(given_) == canonical
    assert canonical_host(canonical) == canonical


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "..",
        ".example.com",
        "example..com",
        "example.com..",
        "-a.example",
        "a-.example",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "exa mple.com",
        "example.com\0.evil.example",
        "example.com\n",
        "example.com\t",
        "user@example.com",
        "example.com:443",
        "example.com/path",
        "example%2ecom",
        "*.example.com",
        "*",
        "bücher.example",
        "example\u3002com",
        "\uff45xample.com",
        "xn--",
        "xn--a.example",
        "xn--example-.com",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.01",
        "0x7f.0.0.1",
        "1.2.3.4.5",
        "1.2.3",
        "256.1.1.1",
        "1.2.3.4.",
        "example.0x10",
        "example.123",
        "fe80::1%eth0",
        "[fe80::1%25eth0]",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::127.0.0.1",
        "[::1",
        "::1]",
        "[[::1]]",
        "[example.com]",
        ":::",
    ],
)
def test_odd_hosts_are_refused(host: str) -> None:
    """Octal, hexadecimal and short addresses, zones, escapes, controls, non-ASCII, empty labels."""
    if host == "1.2.3.4.":
        assert canonical_host(host) == "1.2.3.4"
        return
    with pytest.raises(ValueError, match=r"."):
        canonical_host(host)


def test_people_may_write_unicode() -> None:
    """A rule's host may be a U-label (IDNA 2008); what IDNA refuses is refused."""
    assert canonical_host("Bücher.example", unicode=True) == "xn--bcher-kva.example"
    assert canonical_host("faß.example", unicode=True) == "xn--fa-hia.example"  # 2003: fass
    for host in ("☃.example", "a\u200db.example", "a\u3002b.example"):
        with pytest.raises(ValueError, match="no host name"):
            canonical_host(host, unicode=True)


@given(st.text(max_size=40))
def test_canonical_host_is_stable_and_plain(text: str) -> None:
    """Whatever comes out is ASCII without anything odd, and comes out unchanged a second time."""
    try:
        host = canonical_host(text, unicode=True)
    except ValueError:
        return
    assert canonical_host(host) == host
    assert host.isascii()
    assert not set(host) & set("%@/\\[]*? \t\r\n\0")
    assert host == host.lower()
    assert not host.endswith(".")


@given(st.ip_addresses())
def test_addresses_survive(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Every address but the mapped ones is a host, and known to be an address."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return
    assert canonical_host(str(address)) == str(address)
    assert is_address(str(address))


@given(st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){1,2}", fullmatch=True))
def test_names_are_no_addresses(name: str) -> None:
    """A name is never taken for an address."""
    if name.startswith("xn--") or ".xn--" in name:
        return
    assert not is_address(canonical_host(name))


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b", "/a//b"),
        ("/%61%2D", "/a-"),
        ("/a%20b", "/a%20b"),
        ("/%c3%bc", "/%C3%BC"),
        ("/a;b=c", "/a;b=c"),
        ("/...", "/..."),
    ],
)
def test_path_has_one_form(given_: str, canonical: str) -> None:
    """Escapes in upper case, and only where a character needs one (RFC 3986, 6.2.2)."""
    assert canonical_path(given_) == canonical
    assert canonical_path(canonical) == canonical


@pytest.mark.parametrize(
    "path",
    [
        *("", "a", "*", "/a/../b", "/..", "/.", "/a/./b", "/%2e%2e/a", "/%2E/", "/.%2e/a"),
        *("/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a?b", "/a#b", "/%", "/%4", "/%zz", "/%00"),
        *("/%0a", "/%7f", "/a b", "/ü", "/\n", "/" + "a" * 20000),
    ],
)
def test_odd_paths_are_refused(path: str) -> None:
    """Dot segments in any spelling, hidden slashes, broken escapes, controls, queries."""
    with pytest.raises(ValueError, match="path"):
        canonical_path(path)


@given(st.text(alphabet="/.%25efEF2acA \\?#\0é", max_size=20))
def test_canonical_path_is_stable(text: str) -> None:
    """Whatever comes out has no dot segment and comes out unchanged a second time."""
    try:
        path = canonical_path("/" + text)
    except ValueError:
        return
    assert canonical_path(path) == path
    assert not {".", ".."} & set(path.split("/"))
    assert "%2F" not in path
