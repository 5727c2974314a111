"""The launch plugin's modes: thin commands that talk to the daemon."""
