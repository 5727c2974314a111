"""Configuration from a stranger: whatever it holds, the answer is a value or a clear error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aileron_core.config.files import MOST_BYTES, parse
from aileron_core.config.scanner import find_lines
from aileron_core.errors import EXIT_CONFIG, AileronError

CODES = {"config-syntax", "config-unreadable", "config-unknown", "config-value", "config-untrusted"}


def outcome(files: Any) -> AileronError | None:
    """The error of loading, if it is one; any other exception fails the test."""
    try:
        files.load()
    except AileronError as caught:
        error = caught
    else:
        return None
    assert error.code in CODES
    assert error.exit_status == EXIT_CONFIG
    return error


@pytest.mark.parametrize(
    "content",
    [
        b"a = 1\na = 2\n",
        b"[t]\n[t]\n",
        b'text = "\x00"\n',
        b"\x00",
        b"\xff\xfe",
        b"a = " + b"[" * 100_000,
        b"a = " + b"{b=" * 50_000,
        b".".join([b"a"] * 200_000) + b" = 1\n",
        b"[" + b".".join([b'"a"'] * 200_000) + b"]\n",
        b"a = " + b"9" * 100_000 + b"\n",
        b"a = '''" + b"x" * 1000,
        b"= 1",
        b"[every-thing\n",
        b"\r",
        b"a = 0000-00-00\n",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_malformed_toml_is_an_error_that_names_the_file(files: Any, content: bytes) -> None:
    """Duplicate keys, NULs, other encodings, endless nesting and keys; quickly, too."""
    (files.project / ".aileron.toml").write_bytes(content)
    error = outcome(files)
    assert error is not None
    assert error.code in ("config-syntax", "config-unreadable")
    assert str(files.project / ".aileron.toml") in error.message


def test_the_line_of_a_syntax_error_is_named(files: Any) -> None:
    """As an editor can jump to."""
    file = files.user("[every-thing]\n\nnumber = = 3\n")
    error = outcome(files)
    assert error is not None
    assert f"{file}:3" in error.message


def test_a_file_of_more_than_a_mebibyte_is_refused(files: Any) -> None:
    """Nobody writes that much by hand; parsing it would hold up every launch."""
    (files.project / ".aileron.toml").write_bytes(b"#" * (MOST_BYTES + 1))
    error = outcome(files)
    assert error is not None
    assert "bigger" in error.why


def test_a_link_in_a_project_is_not_followed(files: Any) -> None:
    """It could show a file of the host's in an error message."""
    (files.root / "secret").write_text("s3cret = 1\n")
    (files.project / ".aileron.toml").symlink_to(files.root / "secret")
    error = outcome(files)
    assert error is not None
    assert "symbolic link" in error.why
    assert "s3cret" not in str(error.to_dict())


def test_a_fifo_in_a_project_does_not_block(files: Any) -> None:
    """Opening one for reading would wait for a writer for ever."""
    os.mkfifo(files.project / ".aileron.toml")
    error = outcome(files)
    assert error is not None
    assert "regular file" in error.why


def test_a_directory_in_place_of_a_file(files: Any) -> None:
    """Refused like anything that is no file."""
    files.paths.user_config.mkdir(parents=True)
    assert outcome(files) is not None


def test_a_directory_in_a_project_is_no_file(files: Any) -> None:
    """An empty directory stands in for an absent file while a session runs: nothing is set."""
    (files.project / ".aileron.toml").mkdir()
    assert outcome(files) is None


def test_a_users_own_file_may_be_a_link(files: Any) -> None:
    """Many people keep their configuration in a repository of their own."""
    (files.root / "dotfile").write_text("[every-thing]\nnumber = 8\n")
    files.paths.user_config.parent.mkdir(parents=True)
    files.paths.user_config.symlink_to(files.root / "dotfile")
    assert files.everything().number == 8


JSONISH = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "text",
        "number",
        "ratio",
        "flag",
        "choice",
        "names",
        "env",
        "rules",
        "inner",
        "places",
        "file",
        "x",
    ]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=st.dictionaries(KEYS, JSONISH, max_size=4))
def test_any_value_of_any_key_is_taken_or_refused(files: Any, table: dict[str, Any]) -> None:
    """No value of any shape gets past the types, and none makes anything else than an error."""
    import tomlkit

    try:
        text = tomlkit.dumps({"every-thing": table})
    except (ValueError, TypeError):
        return
    files.user(text)
    outcome(files)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60) | st.text("[]{}.=,\"'#\n a1\\u", max_size=40).map(str.encode))
def test_any_bytes_are_toml_or_an_error(content: bytes) -> None:
    """The scanner for lines survives all that tomllib accepts."""
    code = None
    try:
        parse(Path("/x.toml"), content)
    except AileronError as error:
        code = error.code
    assert code in (None, "config-syntax")
    if code is None:
        assert all(line >= 1 for line in find_lines(content.decode()).values())
