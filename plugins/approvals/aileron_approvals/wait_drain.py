"""Entry point of the modes `wait` and `drain`. It contributes nothing yet: no mode exists before it works."""
