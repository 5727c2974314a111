"""Aileron's core: hooks, records, plugin loading, configuration, the command line, the daemon.

It knows no mode and no Podman: both come from plugins.
"""

__version__ = "0.1.0"
