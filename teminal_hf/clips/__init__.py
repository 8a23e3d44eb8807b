"""Labelled clips: tables, sources, decoded stores."""
