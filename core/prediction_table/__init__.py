"""Prediction table: a read-only file of predictions by key, which a server maps into memory."""
