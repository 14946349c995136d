"""Ingest: spans of data that are preprocessed once, and windows over them, for dynamic training."""
