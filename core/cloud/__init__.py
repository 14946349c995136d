"""Google Cloud clients that several components share, and the errors of those services."""
