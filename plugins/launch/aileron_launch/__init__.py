"""Aileron's `launch` plugin: the modes launch, sessions and sandbox."""
