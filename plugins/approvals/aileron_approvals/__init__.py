"""Aileron's `approvals` plugin: the inbox for everything that needs a human."""
