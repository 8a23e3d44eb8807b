"""`datasets`, `evaluate` and `mteb`."""
