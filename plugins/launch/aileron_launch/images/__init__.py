"""Image tiers: host, base, devcontainer, byo. Each turns into a reference and a way to get it."""
