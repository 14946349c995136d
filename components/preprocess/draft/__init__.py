"""Draft of a Problem file from a table."""
