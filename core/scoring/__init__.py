"""Scoring core: scores batches of rows with a SavedModel, and quarantines the rows that fail."""
