"""Aileron's `proxy` plugin: the HTTPS data plane of a session."""
