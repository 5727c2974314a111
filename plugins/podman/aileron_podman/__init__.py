"""Aileron's default backend: Podman."""
