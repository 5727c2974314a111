"""One canonicaliser for hosts and one for paths: matching and dialling use their output only.

What two parsers might read differently is refused, never mended.
"""

from __future__ import annotations

import ipaddress
import re

# RFC 1123 labels, with the underscore that real names have.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What some parsers read as a number and so as an address (WHATWG URL, "ends in a number").
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_NAME = 253  # RFC 1035, 2.3.4, without the trailing dot
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")  # RFC 3986, 2.3
_PATH = re.compile(r"/[!-~]*")
_LONGEST_PATH = 16 << 10


def canonical_host(text: str, *, unicode: bool = False) -> str:
    """A host in the one form that is compared and dialled.

    Names are lower case, without a trailing dot, IDNA 2008 (A-labels). Addresses are as `ipaddress`
    writes them; IPv6 has no brackets.

    Args:
        text: a name or address, as it came.
        unicode: take U-labels too (rules that people write); else any non-ASCII is refused.

    Raises:
        ValueError: it is no host, or one that parsers disagree on: octal, hexadecimal or decimal
            addresses, zone ids, IPv4 in IPv6, ``%``, ``@``, control characters, empty labels.
    """
    if not text.isascii():
        if not unicode:
            raise ValueError("a host has ASCII characters only")
        text = _to_ascii(text)
    host = text.lower()
    if ":" in host or host.startswith("["):
        return _ipv6(host)
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        return str(ipaddress.IPv4Address(host))  # four decimal numbers without leading zeros
    if len(host) > _LONGEST_NAME or not all(map(_is_label, labels)):
        raise ValueError(f"{text[:80]!r} is no host name")
    return host


def is_address(host: str) -> bool:
    """A canonical host that is an address."""
    return ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]) is not None


def _ipv6(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if "%" in text or "." in text:
        raise ValueError("an IPv6 address has no zone and holds no IPv4 address")
    address = ipaddress.IPv6Address(text)
    if address.ipv4_mapped is not None:
        raise ValueError("an IPv6 address holds no IPv4 address")
    return address.compressed


def _is_label(label: str) -> bool:
    if not _LABEL.fullmatch(label):
        return False
    return not label.startswith("xn--") or _is_a_label(label)


def _is_a_label(label: str) -> bool:
    import idna  # 15 ms, and hardly ever needed

    try:
        return bool(idna.alabel(idna.ulabel(label)) == label.encode())
    except (idna.IDNAError, UnicodeError):
        return False


def _to_ascii(text: str) -> str:
    import idna

    try:
        return idna.encode(text.lower().removesuffix("."), strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"{text[:80]!r} is no host name: {error}") from None


def canonical_path(text: str) -> str:
    """A URL's path in the one form that is compared: escapes only where they are needed.

    Raises:
        ValueError: it has no leading slash, is not printable ASCII, holds ``.`` or ``..`` as a
            segment, a backslash, or an escaped slash, backslash, control character or NUL.
    """
    if len(text) > _LONGEST_PATH or not _PATH.fullmatch(text):
        raise ValueError("a path begins with a slash and is printable ASCII")
    if "?" in text or "#" in text or "\\" in text:
        raise ValueError("a path has no query, fragment or backslash")
    path = _ESCAPE.sub(_unescape, text)
    if any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError("a path has no dot segments")
    return path


def _unescape(match: re.Match[str]) -> str:
    if match[1] is None:
        raise ValueError("a path has a broken escape")
    character = chr(int(match[1], 16))
    if character in "/\\" or (not character.isprintable() and ord(character) < 0x80):
        raise ValueError("a path has an escaped slash, backslash or control character")
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()
