"""A run: its arguments, data, folder, record and card."""
