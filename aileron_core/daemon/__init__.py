"""The daemon: the one authority, one per user."""
