"""Aileron's `shell_intercept` plugin: the gate in front of every program that starts."""
