"""Entry point of `wait` and `drain`. It contributes nothing yet: no mode exists before it works."""
