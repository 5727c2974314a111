"""The core's own modes; each module has ``command``, imported when the mode is used."""
