"""Suites of experiments: named variants of a recipe, run, kept as small files and told as a report."""
