"""Captions, groups, their rendering, ZSTE items and their publishing."""
