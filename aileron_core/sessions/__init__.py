"""Sessions: one launch each, from plan to end, and the record of it."""
