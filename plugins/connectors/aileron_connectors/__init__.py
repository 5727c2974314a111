"""Aileron's `connectors` plugin: described APIs as ordinary commands."""
