"""Summary of a batch scoring run: the exit task, which also notifies a webhook."""
