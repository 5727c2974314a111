"""Entry point of the plugin. It contributes nothing yet: no mode exists before it works."""
