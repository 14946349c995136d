"""Parquet: files, and the pages in them."""
