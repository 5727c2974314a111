"""The console's wire format, by its laws."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.sessions.frames import (
    HEADER,
    MAX_PAYLOAD,
    Decoder,
    Frame,
    FrameError,
    decode_count,
    decode_hello,
    decode_size,
    encode,
    encode_count,
    encode_hello,
    encode_size,
)

FRAMES = st.lists(st.tuples(st.sampled_from(Frame), st.binary(max_size=300)), max_size=20)


@given(FRAMES, st.integers(1, 50))
def test_frames_survive_any_cutting(frames, size):
    """However the bytes arrive, the same frames come out."""
    data = b"".join(encode(kind, payload) for kind, payload in frames)
    decoder = Decoder()
    found = []
    for at in range(0, len(data), size):
        found += decoder.feed(data[at : at + size])
    assert found == frames
    assert decoder.pending == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error(data):
    """Hostile bytes never do anything but raise `FrameError`."""
    with contextlib.suppress(FrameError):
        list(Decoder().feed(data))


def test_a_frame_that_is_too_long_is_refused_by_its_header():
    """Nothing of it is kept: five bytes are enough to refuse a gigabyte."""
    with pytest.raises(FrameError):
        list(Decoder().feed(HEADER.pack(Frame.STDIN, MAX_PAYLOAD + 1)))


def test_an_unknown_type_is_refused():
    """A type that this version does not know ends the conversation."""
    with pytest.raises(FrameError):
        list(Decoder().feed(HEADER.pack(99, 0)))


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_sizes_round_trip(rows, columns):
    """Rows and columns come back."""
    ((kind, payload),) = Decoder().feed(encode_size(rows, columns))
    assert (kind, decode_size(payload)) == (Frame.RESIZE, (rows, columns))


def test_sizes_are_clamped():
    """A terminal's size is an unsigned short in the kernel."""
    ((_, payload),) = Decoder().feed(encode_size(-1, 1 << 20))
    assert decode_size(payload) == (0, 65535)


@given(st.integers(0, (1 << 32) - 1))
def test_counts_round_trip(count):
    """How many bytes were taken comes back."""
    ((_, payload),) = Decoder().feed(encode_count(count))
    assert decode_count(payload) == count


@pytest.mark.parametrize("decode", [decode_size, decode_count])
def test_payloads_of_a_wrong_length(decode):
    """Numbers have their exact length."""
    with pytest.raises(FrameError):
        decode(b"123")


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()))
def test_hellos_round_trip(hello):
    """The first line is one line, whatever is in it."""
    line = encode_hello(hello)
    assert line.count(b"\n") == 1
    assert decode_hello(line.rstrip(b"\n")) == hello


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_a_hello_that_is_none(line):
    """Anything but a JSON object is refused."""
    with pytest.raises(FrameError):
        decode_hello(line)
