"""Summary of a batch scoring run: the exit task, which also tells a webhook."""
