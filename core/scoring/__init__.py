"""Scoring core: a SavedModel over batches of rows, with the rows that fail named."""
