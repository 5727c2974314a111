"""What can be wrong with configuration. Every message names the file and line, or the variable."""

from __future__ import annotations

from aileron_core.errors import EXIT_CANNOT_CREATE, EXIT_CONFIG, ErrorCode

CONFIG_SYNTAX = ErrorCode("config-syntax", EXIT_CONFIG, "A configuration file is not valid TOML.")
CONFIG_UNREADABLE = ErrorCode(
    "config-unreadable", EXIT_CONFIG, "A configuration file cannot be read, or should not be."
)
CONFIG_UNKNOWN = ErrorCode("config-unknown", EXIT_CONFIG, "A setting or table does not exist.")
CONFIG_VALUE = ErrorCode("config-value", EXIT_CONFIG, "A setting has a value it cannot have.")
CONFIG_UNTRUSTED = ErrorCode(
    "config-untrusted",
    EXIT_CONFIG,
    "A project's own file loosens something, and the person has not said that it may.",
)
CONFIG_UNWRITABLE = ErrorCode(
    "config-unwritable", EXIT_CANNOT_CREATE, "The user's configuration file cannot be written."
)
