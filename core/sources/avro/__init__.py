"""Avro files as a source of rows: their schemas, blocks and values."""
