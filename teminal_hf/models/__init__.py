"""Checkpoints, their split into prefix and suffix, stages."""
