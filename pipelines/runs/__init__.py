"""Runs of a root: their records, and their lookup by id or path."""
