"""Policy: rules as data, compiled into an engine that decides. Pure: no I/O, no clock."""
