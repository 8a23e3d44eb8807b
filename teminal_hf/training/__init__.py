"""Losses, collation, cached groups and the trainer."""
