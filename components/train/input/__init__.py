"""Training input: shards, blocks of rows, row order and batches."""
